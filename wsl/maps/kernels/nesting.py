"""Components at several thresholds: how those of the lowest threshold split at the higher ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
from wsl.maps.kernels.ranking import in_order
from wsl.maps.kernels.rows import copy_row

# Score factors of the rule `nested`, chosen on photographs held out of VOC's train split.
WHOLE, PART = np.float32(0.9), np.float32(0.7)


@compiled
def parted(xyxy: FloatArray, scores: FloatArray, ends: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """All boxes at the lowest of several thresholds, and the boxes of components that split at higher ones.

    If a component contains two or more components of a higher threshold, each of these gets a box with 0.7 times its
    score, and the score of the box around them is multiplied by 0.9. A component that only shrinks adds no box.
    Highest score first.

    Shape:
        ``xyxy`` (n, 4) and ``scores`` (n,) hold all levels one after another; ``ends[level]`` is the end of a level.
        The result has at most n rows.
    """
    count = ends[0]
    boxes, ranks = np.empty((len(xyxy), 4), np.float32), np.empty(len(xyxy), np.float32)
    # For each component that is tracked, its box at this level and the box that represents it in the result.
    extents, shown = np.empty(count, np.int64), np.empty(count, np.int64)
    for i in range(count):
        copy_row(xyxy, scores, i, boxes, ranks, i)
        extents[i] = shown[i] = i
    for level in range(1, len(ends)):
        start, inside = ends[level - 1], ends[level] - ends[level - 1]
        around, parts = np.empty(inside, np.int64), np.zeros(len(extents), np.int64)
        for i in range(inside):
            around[i] = smallest_around(xyxy, start + i, extents)
            if around[i] >= 0:
                parts[around[i]] += 1
        after, stands = np.empty(inside, np.int64), np.empty(inside, np.int64)
        followed = 0
        for place in range(len(extents)):
            if parts[place] > 1:
                ranks[shown[place]] *= WHOLE
            for i in range(inside):
                if around[i] == place:
                    after[followed], stands[followed] = start + i, shown[place]
                    if parts[place] > 1:
                        copy_row(xyxy, scores, start + i, boxes, ranks, count)
                        ranks[count] *= PART
                        stands[followed] = count
                        count += 1
                    followed += 1
        extents, shown = after[:followed], stands[:followed]
    return in_order(boxes[:count], ranks[:count])


@compiled
def smallest_around(xyxy: FloatArray, box: int, extents: npt.NDArray[np.int64]) -> int:
    """The index of the smallest box that contains a box, the first of equal ones; -1 if none does."""
    best, least = -1, np.float32(np.inf)
    for place in range(len(extents)):
        outer = xyxy[extents[place]]
        if (
            outer[0] <= xyxy[box, 0]
            and outer[1] <= xyxy[box, 1]
            and outer[2] >= xyxy[box, 2]
            and outer[3] >= xyxy[box, 3]
        ):
            area = (outer[2] - outer[0]) * (outer[3] - outer[1])
            if area < least:
                best, least = place, area
    return best
