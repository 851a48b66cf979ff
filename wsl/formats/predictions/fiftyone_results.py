"""Detections exported by FiftyOne: ``samples.json`` of a FiftyOneDataset, or ``labels.json`` of image detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsl.documents import guarded, load_json
from wsl.errors import UserError, listed
from wsl.formats.exchange.fiftyone import class_of, corners_of, fiftyone_file
from wsl.formats.predictions.detections import Detection, Detections
from wsl.formats.predictions.matching import Pairs, size_of
from wsl.formats.predictions.rows import score_of
from wsl.samples import SampleSet

_EXPECTED = "FiftyOne's samples.json (FiftyOneDataset) or labels.json (FiftyOneImageDetectionDataset)"


@guarded(_EXPECTED)
def read_fiftyone_results(place: Path, samples: SampleSet, warnings: Counter[str]) -> Pairs:
    """Read the detections of every image of a split, from an export of FiftyOne.

    Boxes are [x, y, width, height] as fractions of the image. In a ``samples.json`` the only field whose detections
    have a confidence is read, or else ``predictions``. An image that is not listed has no boxes.

    Tolerated problems are counted in ``warnings``, see `Detections`.

    Raises:
        UserError: the JSON has another form; no field or several fields may be the predictions; a box is not in
            fractions, or a detection has no confidence; or as for `Detections`.

    >>> import json, tempfile
    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(8, 8))])
    >>> dog = {"_cls": "Detection", "label": "dog", "bounding_box": [0.25, 0, 0.5, 1], "confidence": 0.5}
    >>> record = {"filepath": "data/a.jpg", "predictions": {"_cls": "Detections", "detections": [dog]}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "samples.json").write_text(json.dumps({"samples": [record]}), encoding="utf-8")
    ...     [(found, _)] = read_fiftyone_results(Path(folder), samples, Counter())
    >>> found.boxes.xyxy.tolist()
    [[2.0, 0.0, 6.0, 8.0]]
    """
    file = fiftyone_file(place)
    document = load_json(file, _EXPECTED)
    detections = Detections(samples, warnings, file, "fractions")
    for image, found in _images(document, file):
        sample = detections.match(image.removeprefix("data/"))  # the folder to which FiftyOne copies images
        size = (1, 1) if sample is None else size_of(sample)
        for position, record in enumerate(found):
            where = f"{file}: {image}, detection {position}"
            detections.add(image, sample, _detection(record, size, where), where)
    return detections.pairs()


def _images(document: Any, file: Path) -> Iterator[tuple[str, Sequence[Any]]]:
    if isinstance(document, dict) and isinstance(document.get("samples"), list):
        return _of_samples(document["samples"], file)
    if isinstance(document, dict) and isinstance(document.get("labels"), dict):
        return _of_labels(document["labels"], document.get("classes"), file)
    raise UserError(f"{file}: has neither samples nor labels, expected {_EXPECTED}")


def _of_samples(records: Sequence[Any], file: Path) -> Iterator[tuple[str, Sequence[Any]]]:
    for record in records:
        if not isinstance(record, dict) or not isinstance(record.get("filepath"), str):
            raise UserError(f"{file}: a sample has no filepath, expected {_EXPECTED}")
    field = _field(records, file)
    for record in records:
        value = record.get(field)
        found = value.get("detections") if isinstance(value, dict) else []
        if not isinstance(found, list):
            raise UserError(f"{file}: {field} of {record['filepath']} has no list of detections, expected {_EXPECTED}")
        yield record["filepath"], found


def _field(records: Sequence[Mapping[str, Any]], file: Path) -> str:
    """The name of the field with the predictions."""
    scored: dict[str, bool] = {}
    for record in records:
        for name, value in record.items():
            if isinstance(value, dict) and isinstance(found := value.get("detections"), list):
                confident = any(isinstance(one, dict) and one.get("confidence") is not None for one in found)
                scored[name] = scored.get(name, False) or confident
    fields = [name for name, confident in scored.items() if confident]
    if len(fields) == 1:
        return fields[0]
    if "predictions" in (fields or scored):
        return "predictions"
    if fields:
        raise UserError(f"{file}: the fields {listed(fields)} hold predictions, expected one: export only that field")
    told = f"its detections ({listed(list(scored))}) have no confidence" if scored else "it has no detections"
    raise UserError(f"{file}: {told}, expected predictions: export their field instead of the ground truth")


def _of_labels(labels: Mapping[str, Any], classes: Any, file: Path) -> Iterator[tuple[str, Sequence[Any]]]:
    for image, found in labels.items():
        if not (found is None or isinstance(found, list)):
            raise UserError(f"{file}: {image} has a {type(found).__name__}, expected a list of detections")
        yield (
            image,
            [
                {**record, "label": class_of(record.get("label"), classes, f"{file}: {image}")}
                if isinstance(record, dict)
                else record
                for record in found or []
            ],
        )


def _detection(record: Any, size: tuple[int, int], where: str) -> Detection:
    label = record.get("label") if isinstance(record, dict) else None
    box = record.get("bounding_box") if isinstance(record, dict) else None
    if not isinstance(label, str):
        raise UserError(f"{where} has the label {label!r}, expected the name of a class")
    corners = corners_of(box, size, where)
    if record.get("confidence") is None:
        raise UserError(f"{where} has no confidence, expected predictions: is it the ground truth?")
    return Detection(label, score_of(record["confidence"], where), corners)
