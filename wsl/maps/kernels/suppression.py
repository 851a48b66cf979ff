"""Greedy non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled

Doubles = npt.NDArray[np.float64]


@compiled
def kept(xyxy: Doubles, scores: npt.NDArray[Any], classes: npt.NDArray[np.int64], iou: float) -> npt.NDArray[np.intp]:
    """Indices of the boxes whose IoU with every kept box of their class is at most ``iou``, highest score first.

    Ties of scores go to the first box.

    Shape:
        ``xyxy`` is (n, 4), ``scores`` and ``classes`` (n,).
    """
    order, count = np.argsort(-scores, kind="mergesort"), 0
    found = np.empty(len(order), np.intp)
    for candidate in order:
        keep = True
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
def overlap(one: Doubles, other: Doubles) -> float:
    """The IoU of two boxes; NaN for two boxes without area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return float(both / (areas - both))
