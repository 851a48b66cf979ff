"""Overlaps of boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError

DoubleArray = npt.NDArray[np.float64]


def box_iou(first: npt.ArrayLike, second: npt.ArrayLike) -> DoubleArray:
    """Intersection over union of every box of one list with every box of another.

    Boxes are half-open: ``(0, 0, 1, 1)`` is one pixel. For inclusive corners, as in VOC, first subtract 1 from the
    near corner (VOC counts from 1): the value then equals the "+1" IoU of the VOC devkit. Two boxes without area have
    IoU 0.

    Shape:
        (n, 4) and (m, 4) xyxy to (n, m); a single box may be (4,).

    Raises:
        UserError: an array has another shape or holds a number that is not finite.

    >>> box_iou([0, 0, 2, 2], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
    [[1.0, 0.333, 0.0]]
    """
    a, b = as_xyxy(first)[:, None], as_xyxy(second)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    intersection = np.clip(sides, 0, None).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - intersection
    return np.asarray(np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0))


def best_iou(boxes: npt.ArrayLike, ground_truth: npt.ArrayLike) -> DoubleArray:
    """The highest IoU of each box with any of the true boxes; 0 if there is none.

    Shape:
        (n, 4) and (m, 4) xyxy to (n,).

    >>> best_iou([[0, 0, 2, 2], [8, 8, 9, 9]], [[0, 0, 1, 2], [0, 0, 2, 2]]).tolist()
    [1.0, 0.0]
    """
    return np.asarray(box_iou(boxes, ground_truth).max(axis=1, initial=0.0))


def as_xyxy(boxes: npt.ArrayLike) -> DoubleArray:
    """Boxes as an (n, 4) array of doubles; one box may be given as (4,), none as an empty list.

    Raises:
        UserError: the shape is another one, or a number is not finite.

    >>> as_xyxy([0, 0, 1, 1]).shape, as_xyxy([]).shape
    ((1, 4), (0, 4))
    """
    xyxy = as_numbers(boxes, "boxes")
    if xyxy.size == 0:
        return np.empty((0, 4))
    xyxy = xyxy[None] if xyxy.ndim == 1 else xyxy
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise UserError(f"boxes have shape {xyxy.shape}, expected (n, 4) as x0, y0, x1, y1")
    if not np.isfinite(xyxy).all():
        raise UserError("a box coordinate is not finite: expected numbers")
    return xyxy


def require_point(point: Sequence[float]) -> None:
    """Refuse a point that is not two finite numbers.

    Raises:
        UserError: it is not.
    """
    numbers = as_numbers(point, "the coordinates of a point")
    if numbers.shape != (2,) or not np.isfinite(numbers).all():
        raise UserError(f"point is {point}, expected finite (x, y)")


def require_iou_threshold(threshold: float) -> None:
    """Refuse an IoU threshold outside (0, 1].

    Raises:
        UserError: it is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise UserError(f"IoU threshold is {threshold}, expected a number in (0, 1]: try 0.5")
