"""One image of the gallery: what was found, the ground truth, and whether the two agree."""

from __future__ import annotations

import base64
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
_RIGHT = 0.5


def gallery_item(found: Localization, sample: Sample | None, rule: BoxConfig) -> dict[str, Any]:
    """Plain values for the page: an entry for each class that was localized or is annotated, best first.

    ``outcome`` is "right" or the kind of failure (`wsl.metrics.failures`) of a class that is annotated, "not in the
    image" for one that is localized beside it, and None where nobody annotated boxes.
    """
    ground_truth = None if sample is None else sample.boxes
    judged = {} if sample is None or ground_truth is None else failures(found, sample)
    maps = found.maps or {}
    labels = dict.fromkeys([*maps, *found.points, *found.boxes.labels, *judged])
    ordered = sorted(labels, key=lambda label: -found.scores.get(label, 0.0))
    return {
        "name": found.path.name,
        "path": found.path.as_posix(),
        "width": found.size[0],
        "height": found.size[1],
        "classes": [_entry(found, label, ground_truth, judged, rule) for label in ordered],
        "truths": [] if ground_truth is None else _annotated(ground_truth),
    }


def encode_picture(image: UInt8Array, side: int, quality: int) -> str:
    """An image shrunk to ``side`` pixels as base64 of WebP.

    >>> encode_picture(np.zeros((4, 4, 3), np.uint8), 4, 70)[:5]
    'UklGR'
    """
    scale = min(1.0, side / max(image.shape[:2]))
    if scale < 1:
        size = [max(1, round(length * scale)) for length in image.shape[1::-1]]
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    done, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise RunError("this build of OpenCV writes no WebP: install opencv-python from PyPI")
    return base64.b64encode(data.tobytes()).decode("ascii")


def _annotated(boxes: Boxes) -> list[dict[str, Any]]:
    return [
        {"label": label, "xyxy": _rounded(xyxy), "difficult": bool(hard)}
        for label, xyxy, hard in zip(boxes.labels, boxes.xyxy.tolist(), boxes.difficult, strict=True)
    ]


def _entry(
    found: Localization, label: str, ground_truth: Boxes | None, judged: dict[str, Any], rule: BoxConfig
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
