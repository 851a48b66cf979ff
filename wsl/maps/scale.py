"""Normalisation of a class map's values to [0, 1], and resampling of its cells to pixels."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.boxes import FloatArray
from wsl.errors import UserError
from wsl.stopwatch import stage

Interpolation = Literal["bilinear", "bicubic"]


def normalise(score_map: npt.ArrayLike) -> FloatArray:
    """Stretch each map linearly so that its minimum becomes 0 and its maximum 1.

    A map without contrast localizes nothing and becomes all zeros: a constant map, one with a NaN or an infinity
    anywhere (as in the WSOL benchmark of Choe et al., CVPR 2020), or one whose range exceeds float32.

    Shape:
        (h, w) or (..., h, w), each map on its own; the result has the same shape.

    Raises:
        UserError: the array is empty or has fewer than two dimensions.

    >>> normalise([[1, 3], [2, 1]]).tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    >>> normalise([[7, 7], [7, 7]]).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    values = _floats(score_map)
    if values.ndim < 2 or values.size == 0:
        raise UserError(f"a map has shape {values.shape}, expected (h, w) or (..., h, w) with at least one cell")
    # NaNs and infinities show up in the extremes, so the values need not be searched for them.
    low, high = values.min(axis=(-2, -1), keepdims=True), values.max(axis=(-2, -1), keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        span = high - low
        flat = ~((span > 0) & (span < np.inf))
        scaled: FloatArray = values - low
        scaled /= np.where(flat, np.float32(1), span)
    if flat.any():
        scaled[np.broadcast_to(flat, scaled.shape)] = 0
    return scaled


def resize_map(
    score_map: npt.ArrayLike, size: tuple[int, int], interpolation: Interpolation = "bilinear"
) -> FloatArray:
    """Resample a map to another resolution, with half-pixel centres.

    As with torch's ``align_corners=False``, cells at the border extend outwards. Bilinear interpolation stays inside
    the map's range; bicubic, which the WSOL benchmark uses, may overshoot it. A constant map stays exactly constant.

    Shape:
        ``score_map`` is (h, w), ``size`` (width, height); the result is (height, width).

    Raises:
        UserError: the map is not (h, w), the size is not positive, or the interpolation is unknown.

    >>> resize_map([[0, 1]], (4, 1)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    values, (width, height) = as_map(score_map), as_size(size)
    if interpolation not in ("bilinear", "bicubic"):
        raise UserError(f"interpolation is {interpolation!r}, expected bilinear or bicubic")
    if values.min() == values.max():
        # Rounding would give a constant map some contrast, which normalisation would stretch to the full range.
        return np.full((height, width), values[0, 0], np.float32)
    with stage("upsampling"):
        if interpolation == "bicubic":
            return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        # OpenCV's last digits depend on its build and on the processor. numba takes half a second to load.
        from wsl.maps.kernels.extraction import bilinear

        return bilinear(values, (height, width))


def heatmap(score_map: npt.ArrayLike, size: tuple[int, int], interpolation: Interpolation = "bilinear") -> FloatArray:
    """A map as it is thresholded and drawn: resized, then normalised to [0, 1].

    Bicubic overshoot is clipped to the map's own range, so that flat regions stay flat. As in `normalise`, a map
    without contrast becomes all zeros.

    Shape:
        ``score_map`` is (h, w), ``size`` (width, height); the result is (height, width).

    Raises:
        UserError: as for `resize_map`.

    >>> heatmap([[2, 6]], (4, 1)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    values, (width, height) = as_map(score_map), as_size(size)
    if not np.isfinite(values).all():
        # Resizing to fewer pixels could skip a NaN.
        return np.zeros((height, width), np.float32)
    resized = resize_map(values, (width, height), interpolation)
    return normalise(resized if interpolation == "bilinear" else resized.clip(values.min(), values.max()))


def as_map(score_map: npt.ArrayLike) -> FloatArray:
    """One map as a float32 array.

    Raises:
        UserError: it is not (h, w) with at least one cell.

    >>> as_map([[1, 2]]).dtype
    dtype('float32')
    """
    values = _floats(score_map)
    if values.ndim != 2 or values.size == 0:
        raise UserError(f"a map has shape {values.shape}, expected (h, w) with at least one cell: pass one class's map")
    return values


def as_size(size: tuple[int, int]) -> tuple[int, int]:
    """A size as two positive integers.

    Raises:
        UserError: it is not (width, height).

    >>> as_size((640, 480))
    (640, 480)
    """
    if len(size) != 2 or min(size) < 1:
        raise UserError(f"size is {tuple(size)}, expected (width, height) in pixels, each 1 or more")
    return int(size[0]), int(size[1])


def _floats(score_map: npt.ArrayLike) -> npt.NDArray[Any]:
    # A float64 outside float32's range becomes infinite, which every function here treats as no contrast.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(as_numbers(score_map, "the values of a map", np.float32))
