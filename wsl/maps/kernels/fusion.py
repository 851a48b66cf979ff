"""Weighted fusion of boxes that two sources found for one thing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
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
    for candidate in np.argsort(-scores, kind="mergesort"):
        group, most, score = count, iou, scores[candidate]
        for i in range(count):
            shared = overlap(means[i], xyxy[candidate])
            if shared > most:
                group, most = i, shared
        if group == count:
            means[group], sums[group] = xyxy[candidate], score
            count += 1
        elif score > 0:
            means[group] += (xyxy[candidate] - means[group]) * (score / (sums[group] + score))
            sums[group] += score
        best[group, sources[candidate]] = max(best[group, sources[candidate]], score)
    found = (best[:count, 0] + best[:count, 1]) / 2
    order = np.argsort(-found, kind="mergesort")
    return means[:count][order].astype(np.float32), found[order].astype(np.float32)


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
    boxes, values = np.empty((0, 4), np.float32), np.empty(0, np.float32)
    numbers, start = np.zeros(len(counts), np.int64), 0
    for i in range(len(counts)):
        end = start + counts[i]
        sure = np.flatnonzero(scores[i] >= least)
        best = sure[kept(xyxy[i][sure], scores[i][sure], np.zeros(len(sure), np.int64), nms_iou)]
        source = np.ones(counts[i] + len(best), np.int64)
        source[: counts[i]] = 0
        together = np.concatenate((drawn[start:end], xyxy[i][best]))
        ranked = np.concatenate((heights[start:end], scores[i][best]))
        found, score = fused(together, ranked, source, iou)
        boxes, values = np.concatenate((boxes, found)), np.concatenate((values, score))
        numbers[i], start = len(score), end
    return boxes, values, numbers
