"""Gallery items: the results of one or two runs for an image, with the ground truth and an outcome for each class."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.config import BoxConfig
from wsl.draw import class_color
from wsl.errors import RunError
from wsl.metrics import failures, pointing_hit
from wsl.metrics.overlap import best_iou
from wsl.report.steps import boxes_by_step, encode_map
from wsl.results import Localization
from wsl.samples import Sample

UInt8Array = npt.NDArray[np.uint8]


def gallery_item(found: Localization, sample: Sample | None, rule: BoxConfig) -> dict[str, Any]:
    """Plain values of one image for the page, with an entry for each localized or annotated class, best score first.

    The ``outcome`` of an annotated class is "right" or the reason for the failure (`wsl.metrics.failures`). That of a
    class that was localized without being annotated is "not in the image". It is None if boxes are not annotated.
    """
    return {**_image(found), "classes": _entries(found, sample, rule), "truths": _annotated(sample)}


def gallery_pair(
    pair: Sequence[Localization | None], sample: Sample | None, rules: Sequence[BoxConfig]
) -> dict[str, Any]:
    """Plain values of one image for the page, with the results of two runs; ``rules`` are the box settings of each.

    ``views`` holds the ``classes`` of each run, as in `gallery_item`, or None for a run without the image (at most one
    of ``pair``). A class that only the other run localized is added if this run has a score for it. Entries also say
    whether the class was ``localized``, and their ``score`` is None if the run has none for the class.
    """
    runs = [found for found in pair if found is not None]
    localized = dict.fromkeys(label for found in runs for label in _localized(found))
    views = [
        None if found is None else {"classes": _compared(found, sample, rule, localized)}
        for found, rule in zip(pair, rules, strict=True)
    ]
    return {**_image(runs[0]), "views": views, "truths": _annotated(sample)}


def encode_picture(image: UInt8Array, side: int, quality: int) -> str:
    """An image as base64 of WebP, shrunk if its longer side exceeds ``side`` pixels.

    Shape:
        ``image`` is (H, W, 3) uint8 RGB.

    Raises:
        RunError: OpenCV was built without WebP.

    >>> encode_picture(np.zeros((4, 4, 3), np.uint8), 4, 70)[:5]
    'UklGR'
    """
    scale = min(1.0, side / max(image.shape[:2]))
    if scale < 1:
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise RunError("this build of OpenCV cannot write WebP: install opencv-python from PyPI")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _image(found: Localization) -> dict[str, Any]:
    width, height = found.size
    return {"name": found.path.name, "path": found.path.as_posix(), "width": width, "height": height}


def _annotated(sample: Sample | None) -> list[dict[str, Any]]:
    boxes = Boxes.empty() if sample is None or sample.boxes is None else sample.boxes
    return [
        {"label": label, "xyxy": _rounded(xyxy), "difficult": bool(hard)}
        for label, xyxy, hard in zip(boxes.labels, boxes.xyxy.tolist(), boxes.difficult, strict=True)
    ]


def _localized(found: Localization) -> dict[str, None]:
    """The classes that were localized, in order."""
    return dict.fromkeys([*(found.maps or {}), *found.points, *found.boxes.labels])


def _entries(found: Localization, sample: Sample | None, rule: BoxConfig) -> list[dict[str, Any]]:
    ground_truth = None if sample is None else sample.boxes
    judged = {} if sample is None or ground_truth is None else failures(found, sample)
    labels = [*_localized(found) | dict.fromkeys(judged)]
    ordered = sorted(labels, key=lambda label: -found.scores.get(label, 0.0))
    return [_entry(found, label, ground_truth, judged, rule) for label in ordered]


def _compared(
    found: Localization, sample: Sample | None, rule: BoxConfig, localized: Mapping[str, None]
) -> list[dict[str, Any]]:
    """The entries of one run of a pair, with those of classes that it scores and only the other run localized."""
    entries = _entries(found, sample, rule)
    known, own = {entry["label"] for entry in entries}, _localized(found)
    entries += [
        _entry(found, label, None, {}, rule) for label in localized if label in found.scores and label not in known
    ]
    for entry in entries:
        entry["localized"] = entry["label"] in own
        if entry["label"] not in found.scores:
            entry["score"] = None
    return entries


def _entry(
    found: Localization, label: str, ground_truth: Boxes | None, judged: Mapping[str, Any], rule: BoxConfig
) -> dict[str, Any]:
    boxes, instances = found.boxes.of(label), (ground_truth or Boxes.empty()).of(label)
    point = found.points.get(label)
    score_map = (found.maps or {}).get(label)
    resolved = rule.resolved()
    assert resolved.box_rule is not None
    assert resolved.min_area is not None
    iou = None
    if len(instances):
        best = boxes.best(label)
        iou = 0.0 if best is None else float(best_iou(best, instances.xyxy)[0])
    outcome = None
    if ground_truth is not None:
        outcome = (judged[label] or "right") if label in judged else "not in the image"
    return {
        "label": label,
        "colour": "#{:02x}{:02x}{:02x}".format(*class_color(label)),
        "score": round(found.scores.get(label, 0.0), 4),
        "boxes": [_rounded(row) for row in boxes.xyxy.tolist()],
        "point": None if point is None else _rounded(list(point)),
        "hit": None if point is None or not len(instances) else pointing_hit(point, instances.xyxy),
        "iou": None if iou is None else round(iou, 3),
        "outcome": outcome,
        "map": None if score_map is None else encode_map(score_map),
        "steps": None
        if score_map is None
        else boxes_by_step(
            score_map, found.size, resolved.box_rule, min_area=resolved.min_area, nms_iou=resolved.nms_iou
        ),
    }


def _rounded(numbers: list[float]) -> list[float]:
    return [round(float(number), 2) for number in numbers]
