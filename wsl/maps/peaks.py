"""Where a map is highest, in pixels of the image, as a rule without building the image-sized map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.scale import as_map, as_size, resize_map

Indices = npt.NDArray[np.intp]
Doubles = npt.NDArray[np.float64]


def peak(score_map: npt.ArrayLike, size: tuple[int, int]) -> tuple[float, float]:
    """Pixel (x, y) that holds the maximum of the map resized bilinearly to ``size``.

    Equal to the argmax of ``resize_map(score_map, size)``, the first in row-major order on ties, but usually without
    resizing: a bilinear surface needs to be looked at around the map's cells only. A constant map and one with a
    NaN or an infinity have no peak: (0, 0).

    Shape:
        ``score_map`` is (h, w), ``size`` (width, height) in pixels.

    Raises:
        UserError: the map is not (h, w) or the size not positive.

    >>> peak([[0, 0, 0], [0, 0, 5], [0, 0, 0]], (300, 300))
    (250.0, 149.0)
    """
    values, (width, height) = as_map(score_map), as_size(size)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(high - low) and high > low):
        return 0.0, 0.0
    columns, rows = _candidates(values.shape[1], width), _candidates(values.shape[0], height)
    heights = _sample(values, columns, rows, (width, height))
    # What cv2's float32 weights and sums can be off by, and more. Between closer rivals (two pixels of a plateau,
    # such as the border) its rounding decides, so it has to be asked.
    rounding = 5e-7 * (max(values.shape) * (high - low) + max(abs(low), abs(high)))
    row, column = np.unravel_index(int(heights.argmax()), heights.shape)
    if np.count_nonzero(heights >= heights[row, column] - rounding) == 1:
        return float(columns[column]), float(rows[row])
    y, x = divmod(int(resize_map(values, (width, height)).argmax()), width)
    return float(x), float(y)


def _positions(cells: int, pixels: int) -> Doubles:
    """Centre of each pixel along one axis, in cells, as `cv2.resize` places them."""
    return np.asarray((np.arange(pixels) + 0.5) * (cells / pixels) - 0.5)


def _candidates(cells: int, pixels: int) -> Indices:
    """Pixels along one axis among which the maximum must lie: the first and last between two cell centres.

    Between the centres of four cells the surface is bilinear, and a bilinear function takes its maximum over a
    rectangle in one of the rectangle's corners. Outside the outermost centres it is constant along the axis.
    """
    interval = np.clip(np.floor(_positions(cells, pixels)), -1, cells - 1)
    changes = np.flatnonzero(np.diff(interval)) + 1
    return np.union1d(np.append(0, changes), np.append(changes - 1, pixels - 1))


def _sample(values: FloatArray, columns: Indices, rows: Indices, size: tuple[int, int]) -> Doubles:
    """The map resized to ``size``, at these columns and rows only: (rows, columns)."""
    x = np.clip(_positions(values.shape[1], size[0])[columns], 0, values.shape[1] - 1)
    y = np.clip(_positions(values.shape[0], size[1])[rows], 0, values.shape[0] - 1)[:, None]
    left, top = np.floor(x).astype(np.intp), np.floor(y[:, 0]).astype(np.intp)
    right, bottom = np.minimum(left + 1, values.shape[1] - 1), np.minimum(top + 1, values.shape[0] - 1)
    across = values[:, left] * (1 - (x - left)) + values[:, right] * (x - left)
    below = y - top[:, None]
    return np.asarray(across[top] * (1 - below) + across[bottom] * below)
