"""The working resolution of thresholds: class maps resized to it, and boxes scaled back to the image's pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.errors import UserError
from wsl.maps.scale import as_map, as_size, heatmap
from wsl.stopwatch import stage


def working_heatmap(
    score_map: npt.ArrayLike, size: tuple[int, int] | None, resolution: int
) -> tuple[FloatArray, tuple[int, int]]:
    """The normalised heatmap at its working resolution, and the size (width, height) to which boxes are scaled.

    The map is resized to ``size``, or to its aspect ratio with ``resolution`` pixels on the long side if that is less.

    Raises:
        UserError: an argument has another shape or is out of range.

    >>> heat, size = working_heatmap([[0, 1]], (400, 200), resolution=4)
    >>> heat.shape, size
    ((2, 4), (400, 200))
    """
    values = as_map(score_map)
    size = as_size(size or (values.shape[1], values.shape[0]))
    with stage("upsampling"):
        return heatmap(values, working_size(size, resolution)), size


def working_size(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    """The size (width, height) of a working heatmap: the image's, or ``resolution`` on the long side if that is less.

    Raises:
        UserError: the resolution is not positive.

    >>> working_size((400, 200), 4), working_size((4, 2), 256)
    ((4, 2), (4, 2))
    """
    if resolution < 1:
        raise UserError(f"resolution is {resolution}, expected the long side of the resized map in pixels: try 256")
    shrink = min(1.0, resolution / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def to_pixels(xyxy: npt.NDArray[Any], heat: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Scale boxes from the cells of ``heat`` to an image of ``size``; the far borders coincide exactly.

    >>> to_pixels(np.array([[1, 0, 3, 2]]), np.zeros((2, 4), np.float32), (400, 200)).tolist()
    [[100.0, 0.0, 300.0, 200.0]]
    """
    height, width = heat.shape
    return np.asarray(xyxy * np.array([*size, *size]) / np.array([width, height, width, height]), np.float32)


def as_thresholds(thresholds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A list of fractions of a map's range.

    Raises:
        UserError: it is not a list, or one of them is not in [0, 1].

    >>> as_thresholds([0, 0.5]).tolist()
    [0.0, 0.5]
    """
    cuts = np.asarray(thresholds, np.float64)
    if cuts.ndim != 1 or not ((cuts >= 0) & (cuts <= 1)).all():
        raise UserError("thresholds: expected a list of fractions of the map's range in [0, 1]")
    return cuts
