"""Lists of boxes and scores that grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled


@compiled
def appended(
    boxes: FloatArray, scores: FloatArray, count: int, more_boxes: FloatArray, more_scores: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The first ``count`` boxes and scores and behind them others, in longer arrays if there is no room."""
    needed = count + len(more_scores)
    if needed > len(scores):
        length = max(needed, 2 * len(scores))
        longer, values = np.empty((length, 4), np.float32), np.empty(length, np.float32)
        for i in range(count):
            copy_row(boxes, scores, i, longer, values, i)
        boxes, scores = longer, values
    for i in range(len(more_scores)):
        copy_row(more_boxes, more_scores, i, boxes, scores, count + i)
    return boxes, scores


@compiled
def selected(
    boxes: npt.NDArray[Any], scores: npt.NDArray[Any], order: npt.NDArray[np.intp]
) -> tuple[FloatArray, FloatArray]:
    """The boxes and scores with these indices, in their order."""
    some, values = np.empty((len(order), 4), np.float32), np.empty(len(order), np.float32)
    for place in range(len(order)):
        copy_row(boxes, scores, order[place], some, values, place)
    return some, values


@compiled
def copy_row(
    boxes: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    row: int,
    to_boxes: npt.NDArray[Any],
    to_scores: npt.NDArray[Any],
    place: int,
) -> None:
    """Copy a box and its score to a place in other arrays."""
    for side in range(4):
        to_boxes[place, side] = boxes[row, side]
    to_scores[place] = scores[row]
