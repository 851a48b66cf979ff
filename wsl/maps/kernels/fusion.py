"""Weighted fusion of boxes that two sources found for one thing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
from wsl.maps.kernels.ranking import descending
from wsl.maps.kernels.rows import appended, copy_row, selected
from wsl.maps.kernels.suppression import kept, overlap

Doubles = npt.NDArray[np.float64]
Table = npt.NDArray[np.int64]


@compiled
def fused(xyxy: Doubles, scores: Doubles, sources: Table, iou: float) -> tuple[FloatArray, FloatArray]:
    """Boxes and scores of the groups that boxes of two sources (0 and 1) form, highest score first.

    From the highest score down, a box joins the group whose mean it overlaps most, if by more than ``iou``, or begins
    one. A group's box is the mean of its boxes by score; its score the mean of each source's best, 0 without one.

    Shape:
        ``xyxy`` is (n, 4), ``scores`` and ``sources`` (n,).
    """
    count, means, sums = 0, np.empty((len(scores), 4)), np.empty(len(scores))
    best = np.zeros((len(scores), 2))
    ranked = descending(scores)
    for place in range(len(ranked)):
        candidate = ranked[place]
        group, most, score = count, iou, scores[candidate]
        for i in range(count):
            shared = overlap(means[i], xyxy[candidate])
            if shared > most:
                group, most = i, shared
        if group == count:
            for side in range(4):
                means[group, side] = xyxy[candidate, side]
            sums[group] = score
            count += 1
        elif score > 0:
            for side in range(4):
                means[group, side] += (xyxy[candidate, side] - means[group, side]) * (score / (sums[group] + score))
            sums[group] += score
        best[group, sources[candidate]] = max(best[group, sources[candidate]], score)
    heights = np.empty(count)
    for i in range(count):
        heights[i] = (best[i, 0] + best[i, 1]) / 2
    return selected(means, heights, descending(heights))


@compiled
def fused_all(
    drawn: Doubles,
    heights: Doubles,
    counts: Table,
    xyxy: Doubles,
    scores: Doubles,
    least: float,
    nms_iou: float,
    iou: float,
) -> tuple[FloatArray, FloatArray, Table]:
    """`fused` for several maps, one behind another: boxes (n, 4), scores (n,), and each map's number of boxes.

    Of each map's detections those count that score at least ``least`` and overlap no higher-scored one by more than
    ``nms_iou``.

    Shape:
        ``drawn`` (d, 4) and ``heights`` (d,) are the boxes of the M maps, so many of each as ``counts`` (M,) says;
        ``xyxy`` is (M, n, 4) and ``scores`` (M, n).
    """
    boxes, values = np.empty((len(heights), 4), np.float32), np.empty(len(heights), np.float32)
    numbers, start, total = np.zeros(len(counts), np.int64), 0, 0
    for i in range(len(counts)):
        sure, sureness, several = np.empty(xyxy[i].shape), np.empty(len(scores[i])), 0
        for row in range(len(scores[i])):
            if scores[i, row] >= least:
                copy_row(xyxy[i], scores[i], row, sure, sureness, several)
                several += 1
        best = kept(sure[:several], sureness[:several], np.zeros(several, np.int64), nms_iou)
        both = counts[i] + len(best)
        together, ranked, source = np.empty((both, 4)), np.empty(both), np.zeros(both, np.int64)
        for row in range(counts[i]):
            copy_row(drawn, heights, start + row, together, ranked, row)
        for row in range(len(best)):
            copy_row(sure, sureness, best[row], together, ranked, counts[i] + row)
            source[counts[i] + row] = 1
        found, score = fused(together, ranked, source, iou)
        boxes, values = appended(boxes, values, total, found, score)
        numbers[i] = len(score)
        total, start = total + len(score), start + counts[i]
    return boxes[:total], values[:total], numbers
