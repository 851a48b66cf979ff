"""Detections in the format of COCO's evaluation: a JSON list of ``{image_id, category_id, bbox, score}``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsl.documents import guarded, load_json
from wsl.errors import UserError
from wsl.formats.exchange.coco import CocoNames, read_coco
from wsl.formats.predictions.detections import Detections
from wsl.formats.predictions.labelled import add_labelled
from wsl.formats.predictions.matching import Pairs
from wsl.formats.predictions.rows import Row, add_rows, category_of, image_of, is_number, score_of
from wsl.formats.predictions.split import Numbers
from wsl.samples import SampleSet

_EXPECTED = "COCO results: a list of image_id, category_id, bbox, score"


@guarded(_EXPECTED)
def read_coco_results(
    path: Path, samples: SampleSet, warnings: Counter[str], *, numbers: Callable[[], Numbers] | None = None
) -> Pairs:
    """Read the detections of every image of a split; an image that is not in the file has none.

    The format is the JSON of pycocotools, detectron2 (``coco_instances_results.json``) and ultralytics
    (``predictions.json``). ``numbers`` gives the images and categories of annotations in COCO's format by id; without
    it, or for ids that are not in it, `wsl.formats.predictions.rows.add_rows` describes their meaning. The
    ``images.json`` that ``wsl-export`` writes beside ``results.json`` has priority over both. A document of images,
    annotations with scores and categories, as written by FiftyOne, is also read. The whole file is held in memory.

    Tolerated problems are counted in ``warnings``, see `Detections`.

    Raises:
        UserError: the file is not JSON or not a list of detections with boxes, a category is unknown, a side is
            negative, or as for `Detections`.

    >>> import json, tempfile
    >>> from wsl.samples import Sample
    >>> dog = {"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "results.json")
    ...     _ = file.write_text(json.dumps([dog]), encoding="utf-8")
    ...     pairs = read_coco_results(file, samples, Counter(), numbers=lambda: Numbers({7: "a.jpg"}, {18: "dog"}))
    ...     [(found, _)] = pairs
    >>> found.boxes.xyxy.tolist()
    [[1.0, 2.0, 4.0, 6.0]]
    """
    document = load_json(path, _EXPECTED)
    detections = Detections(samples, warnings, path, "xywh")
    if isinstance(document, dict) and "images" in document:
        add_labelled(read_coco(path, document), detections)
        return detections.pairs()
    if not isinstance(document, list):
        raise UserError(f"{path}: a {type(document).__name__}, expected {_EXPECTED}")
    rows = [_row(record, f"{path}: detection {position}") for position, record in enumerate(document)]
    add_rows(rows, detections, _beside(path) or (None if numbers is None else numbers()))
    return detections.pairs()


def _beside(path: Path) -> Numbers | None:
    """The names that ``wsl-export`` wrote beside its results; None without them."""
    file = path.with_name("images.json")
    if path.name != "results.json" or not file.is_file():
        return None
    names = CocoNames(file)
    return Numbers(names.names, {key: name for key, name in names.labels.items() if isinstance(key, int)})


def _row(record: Any, where: str) -> Row:
    if not isinstance(record, dict):
        raise UserError(f"{where} is a {type(record).__name__}, expected image_id, category_id, bbox and score")
    image, name = image_of(record, where)
    category, score = category_of(record, where), score_of(record.get("score"), where)
    bbox = record.get("bbox")
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(is_number, bbox)) and min(bbox[2:]) >= 0):
        raise UserError(
            f"{where} has the bbox {bbox!r:.80}, expected [x, y, width, height] with sides that are not negative"
        )
    x, y, width, height = bbox
    return Row(where, image, name, category, score, (x, y, x + width, y + height))
