"""Boxes of a map at every step of the report's threshold slider.

A browser does not resample a map exactly as OpenCV does, so boxes that it computed would change at other steps than
those of `wsl.maps.boxes_from_map`. Therefore the boxes of all steps are computed here, in one sweep, and the page looks
them up.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.config import BoxRule
from wsl.maps import non_max_suppression, normalise, threshold_sweep

STEPS = 100
"""Number of thresholds on the slider: 0, 1 / STEPS, …, (STEPS - 1) / STEPS."""


def boxes_by_step(
    score_map: npt.ArrayLike, size: tuple[int, int], rule: BoxRule = "largest", *, min_area: float, nms_iou: float
) -> list[list[Any]]:
    """Boxes of each run of consecutive steps with the same boxes: ``[first step, [[x0, y0, x1, y1], ...]]``, in order.

    The boxes of a step are those of `wsl.maps.boxes_from_map` at its threshold, in pixels with two decimals, as in
    ``localizations.jsonl``.

    Shape:
        ``score_map`` is (h, w), ``size`` the image's (width, height).

    >>> boxes_by_step([[0, 0, 4, 2]], (40, 10), min_area=0, nms_iou=0.5)[-1]
    [98, [[25.0, 0.0, 26.0, 10.0]]]
    """
    sweep = threshold_sweep(score_map, size=size)
    thresholds = np.arange(STEPS) / STEPS
    if rule in ("all", "nested"):
        sweep = sweep.of_area(min_area)
        found = [
            non_max_suppression(sweep.boxes(threshold, rule, min_area=min_area), nms_iou).xyxy
            for threshold in thresholds
        ]
    else:
        one = sweep.largest(thresholds) if rule == "largest" else sweep.peak(thresholds)
        found = [row[None] if row[2] > row[0] else row[:0].reshape(0, 4) for row in one]
    runs: list[list[Any]] = []
    for step, boxes in enumerate(found):
        rows = [[round(edge, 2) for edge in row] for row in boxes.tolist()]
        if not runs or runs[-1][1] != rows:
            runs.append([step, rows])
    return runs


def encode_map(score_map: npt.ArrayLike) -> dict[str, Any]:
    """A map for the page: its width and height, and its normalised values as base64 of one byte each.

    >>> encode_map([[0, 1], [2, 4]])
    {'width': 2, 'height': 2, 'values': 'AECA/w=='}
    """
    values = np.rint(normalise(score_map) * 255).astype(np.uint8)
    height, width = values.shape
    return {"width": width, "height": height, "values": base64.b64encode(values.tobytes()).decode("ascii")}
