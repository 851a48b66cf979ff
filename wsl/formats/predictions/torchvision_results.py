"""Detections in the format of torchvision's models, one record per image: ``{image_id, boxes, labels, scores}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.documents import guarded, load_json
from wsl.errors import UserError
from wsl.formats.predictions.detections import Detections
from wsl.formats.predictions.matching import Pairs
from wsl.formats.predictions.rows import Row, add_rows, category_of, image_of, is_number, score_of
from wsl.formats.predictions.split import Numbers
from wsl.samples import SampleSet

_EXPECTED = "boxes, labels and scores of each image, as torchvision's detectors return them"


@guarded(_EXPECTED)
def read_torchvision_results(
    path: Path, samples: SampleSet, warnings: Counter[str], *, numbers: Callable[[], Numbers] | None = None
) -> Pairs:
    """Read the detections of every image of a split, from the outputs of torchvision's detectors as JSON.

    The document is a list of ``{image_id, boxes, labels, scores}``, with ``file_name`` instead of ``image_id`` or in
    addition to it, or an object of such records by image name. Boxes are [x0, y0, x1, y1] in pixels; labels are names,
    ids of COCO's categories, or positions in the class list, counted from 1 because 0 is the background.

    Tolerated problems are counted in ``warnings``, see `Detections`.

    Raises:
        UserError: the file is not JSON, its records have another form, the lengths of lists differ, or as for
            `Detections`.

    >>> import json, tempfile
    >>> from wsl.samples import Sample
    >>> dog = {"file_name": "a.jpg", "boxes": [[1, 2, 3, 4]], "labels": [1], "scores": [0.5]}
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "outputs.json")
    ...     _ = file.write_text(json.dumps([dog]), encoding="utf-8")
    ...     [(found, _)] = read_torchvision_results(file, samples, Counter())
    >>> found.boxes.labels, found.boxes.xyxy.tolist()
    (('dog',), [[1.0, 2.0, 3.0, 4.0]])
    """
    detections = Detections(samples, warnings, path, "xyxy")
    rows = [row for record, where in _records(load_json(path, _EXPECTED), path) for row in _rows(record, where)]
    add_rows(rows, detections, None if numbers is None else numbers(), background=True)
    return detections.pairs()


def _records(document: Any, path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
    if isinstance(document, dict) and not {"boxes", "labels"} <= set(document):
        listed = [
            ({"file_name": name, **record} if isinstance(record, dict) else record) for name, record in document.items()
        ]
    else:
        listed = document if isinstance(document, list) else [document]
    for position, record in enumerate(listed):
        where = f"{path}: image {position}"
        if not isinstance(record, dict):
            raise UserError(f"{where} is a {type(record).__name__}, expected {_EXPECTED}")
        yield record, where


def _rows(record: Mapping[str, Any], where: str) -> Iterator[Row]:
    image, name = image_of(record, where)
    boxes, labels, scores = (record.get(field) for field in ("boxes", "labels", "scores"))
    if not (isinstance(boxes, list) and isinstance(labels, list) and isinstance(scores, list)):
        raise UserError(f"{where} lacks one of the lists boxes, labels and scores, expected {_EXPECTED}")
    if not len(boxes) == len(labels) == len(scores):
        raise UserError(
            f"{where} has {len(boxes)} boxes, {len(labels)} labels and {len(scores)} scores, expected equal numbers"
        )
    for position, (box, label, score) in enumerate(zip(boxes, labels, scores, strict=True)):
        place = f"{where}, box {position}"
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            raise UserError(f"{place} is {box!r:.80}, expected [x0, y0, x1, y1]")
        x0, y0, x1, y1 = box
        category = category_of({"category_id": label}, place)
        yield Row(place, image, name, category, score_of(score, place), (x0, y0, x1, y1))
