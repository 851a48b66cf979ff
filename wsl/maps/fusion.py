"""Boxes of maps and of a detector as one: what both found is averaged, what one of them found counts half."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsl.boxes import FloatArray
from wsl.maps.boxes import ExtractedBoxes

# Chosen on photographs that were held out of VOC's train.
_SAME, _LEAST = 0.6, 0.3


def fuse_many(
    drawn: Sequence[ExtractedBoxes], xyxy: FloatArray, scores: FloatArray, *, nms_iou: float = 0.5
) -> list[ExtractedBoxes]:
    """The boxes drawn of M maps, each fused with the detections of its class in its image.

    Detections of scores below 0.3 are left out, and of two that overlap by more than ``nms_iou`` the lower-scored one.
    Boxes of IoU above 0.6 are of one thing: its box is their mean by score, and its score the mean of the best of
    either source, or half of it where the other found nothing.

    Shape:
        ``xyxy`` is (M, n, 4) in the pixels of ``drawn``, ``scores`` (M, n) in [0, 1].

    Source: Solovyev et al., Weighted boxes fusion, Image and Vision Computing 2021.

    >>> drawn = ExtractedBoxes(np.float32([[0, 0, 10, 10]]), np.float32([1]))
    >>> (found,) = fuse_many([drawn], np.float32([[[0, 0, 10, 9], [20, 0, 30, 10]]]), np.float32([[1, 0.5]]))
    >>> found.xyxy.tolist(), found.scores.tolist()
    ([[0.0, 0.0, 10.0, 9.5], [20.0, 0.0, 30.0, 10.0]], [1.0, 0.25])
    """
    # Loaded here: numba takes half a second.
    from wsl.maps.kernels.fusion import fused_all

    counts = np.array([len(boxes.scores) for boxes in drawn], np.int64)
    all_drawn = np.concatenate([np.empty((0, 4)), *(boxes.xyxy for boxes in drawn)])
    heights = np.concatenate([np.empty(0), *(boxes.scores for boxes in drawn)])
    found, values, numbers = fused_all(
        all_drawn, heights, counts, xyxy.astype(np.float64), scores.astype(np.float64), _LEAST, nms_iou, _SAME
    )
    ends = np.cumsum(numbers).tolist()
    return [
        ExtractedBoxes(found[end - count : end], values[end - count : end])
        for end, count in zip(ends, numbers.tolist(), strict=True)
    ]
