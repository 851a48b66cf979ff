"""Greedy non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled
from wsl.maps.kernels.ranking import descending


@compiled
def kept(
    xyxy: npt.NDArray[Any], scores: npt.NDArray[Any], classes: npt.NDArray[np.int64], iou: float
) -> npt.NDArray[np.intp]:
    """Indices of the boxes whose IoU with every kept box of their class is at most ``iou``, highest score first.

    Ties of scores go to the first box.

    Shape:
        ``xyxy`` is (n, 4), ``scores`` and ``classes`` (n,).
    """
    order, count = descending(scores), 0
    found = np.empty(len(order), np.intp)
    for place in range(len(order)):
        candidate, keep = order[place], True
        for i in range(count):
            other = found[i]
            if classes[other] == classes[candidate] and overlap(xyxy[other], xyxy[candidate]) > iou:
                keep = False
                break
        if keep:
            found[count] = candidate
            count += 1
    return found[:count]


@compiled
def overlap(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """The IoU of two boxes, in double precision; NaN for two boxes without area."""
    left, top, right, bottom = float(one[0]), float(one[1]), float(one[2]), float(one[3])
    width = min(right, float(other[2])) - max(left, float(other[0]))
    height = min(bottom, float(other[3])) - max(top, float(other[1]))
    both = max(width, 0.0) * max(height, 0.0)
    areas = (right - left) * (bottom - top) + (other[2] - float(other[0])) * (other[3] - float(other[1]))
    return float(both / (areas - both))
