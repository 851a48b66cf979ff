"""Lists of boxes and scores that grow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled


@compiled
def with_room(boxes: FloatArray, scores: FloatArray, count: int, more: int) -> tuple[FloatArray, FloatArray]:
    """The first ``count`` boxes and scores, in longer arrays if there is no room for ``more``."""
    if count + more <= len(scores):
        return boxes, scores
    length = max(count + more, 2 * len(scores))
    longer, values = np.empty((length, 4), np.float32), np.empty(length, np.float32)
    for i in range(count):
        copy_row(boxes, scores, i, longer, values, i)
    return longer, values


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
