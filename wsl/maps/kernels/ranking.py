"""The order of boxes by their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
from wsl.maps.kernels.rows import selected


@compiled
def descending(scores: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The order by descending score; ties go to the first."""
    return ranking(np.zeros((len(scores), 4), np.float32), scores)


@compiled
def in_order(boxes: FloatArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Boxes and scores by `ranking`."""
    return selected(boxes, scores, ranking(boxes, scores))


@compiled
def ranking(boxes: FloatArray, scores: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """The order by descending score; ties go to the topmost, the leftmost, the smaller box, and then the first."""
    count = len(scores)
    order, merged = np.empty(count, np.intp), np.empty(count, np.intp)
    for place in range(count):
        order[place] = place
    half = 1
    while half < count:
        for begin in range(0, count, 2 * half):
            middle, end = min(begin + half, count), min(begin + 2 * half, count)
            i, j = begin, middle
            for place in range(begin, end):
                if i < middle and (j == end or not precedes(boxes, scores, order[j], order[i])):
                    merged[place] = order[i]
                    i += 1
                else:
                    merged[place] = order[j]
                    j += 1
        order, merged = merged, order
        half *= 2
    return order


@compiled
def precedes(boxes: FloatArray, scores: npt.NDArray[Any], one: int, other: int) -> bool:
    """Whether a box ranks strictly before another."""
    if scores[one] != scores[other]:
        return bool(scores[one] > scores[other])
    for side in (1, 0, 3, 2):  # y0, x0, y1, x1
        if boxes[one, side] != boxes[other, side]:
            return bool(boxes[one, side] < boxes[other, side])
    return False
