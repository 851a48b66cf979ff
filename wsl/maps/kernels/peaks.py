"""The highest pixel of a bilinearly resized map, found among the few possible pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@compiled
def highest_pixels(maps: FloatArray, sizes: Indices) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """The highest pixel of each map, (M, 2), and whether it is certain despite rounding, (M,).

    Shape:
        ``maps`` is (M, h, w), ``sizes`` (M, 2): the (width, height) to which a map is resized.
    """
    pixels, certain = np.empty((len(maps), 2), np.int64), np.empty(len(maps), np.bool_)
    for i in range(len(maps)):
        pixels[i, 0], pixels[i, 1], certain[i] = highest_pixel(maps[i], sizes[i, 0], sizes[i, 1])
    return pixels, certain


@compiled
def highest_pixel(cells: FloatArray, width: int, height: int) -> tuple[int, int, bool]:
    """Column and row of the highest pixel of the `window`, and whether it is certain despite rounding.

    For a map without contrast it is (0, 0), and certain.

    Shape:
        ``cells`` is (h, w), resized to (``height``, ``width``).
    """
    low, high, finite = np.inf, -np.inf, True
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            value = np.float64(cells[row, column])
            low, high, finite = min(low, value), max(high, value), finite and np.isfinite(value)
    if not finite or low == high:
        return 0, 0, True
    left, right, top_row, bottom = window(cells, width, height)
    columns = candidates(cells.shape[1], width, left, right)
    rows = candidates(cells.shape[0], height, top_row, bottom)
    heights, place = sample(cells, columns, rows, width, height), 0
    for i in range(heights.size):
        place = i if heights[i] > heights[place] else place
    top = heights[place]
    # An upper bound of the error of float32 weights and sums. Between closer values, rounding would decide.
    rounding = 1e-43 + 5e-7 * (max(cells.shape) * (high - low) + max(abs(low), abs(high)))
    rivals = 0
    for i in range(heights.size):
        rivals += heights[i] >= top - rounding
    return columns[place % len(columns)], rows[place // len(columns)], rivals == 1


@compiled
def position(pixel: int, cells: int, pixels: int) -> float:
    """The centre of a pixel along one axis, in cells, as `bilinear` places it."""
    return (pixel + 0.5) * (cells / pixels) - 0.5


@compiled
def window(cells: FloatArray, width: int, height: int) -> tuple[int, int, int, int]:
    """First and last column, first and last row of the pixels to search: those that do not merely extend a border.

    Beyond the centres of the outermost cells the resized map is constant along the axis. Equal rows or columns at a
    border are also treated as such an extension, because a map whose cells start further inside the image may have been
    resampled. Of each extension, the pixel next to the cell is kept; of a map that is constant along the axis, the
    middle pixel.
    """
    rows_before, rows_behind = constant(cells, 0)
    columns_before, columns_behind = constant(cells, 1)
    left, right = inner(cells.shape[1], width, columns_before, columns_behind)
    top, bottom = inner(cells.shape[0], height, rows_before, rows_behind)
    return left, right, top, bottom


@compiled
def constant(cells: FloatArray, axis: int) -> tuple[int, int]:
    """How many rows (or columns) from the first on, and from the last one back, are equal to the next one."""
    before, behind, last = 0, 0, cells.shape[axis] - 1
    while before < last and equal(cells, axis, before, before + 1):
        before += 1
    while behind < last and equal(cells, axis, last - behind, last - behind - 1):
        behind += 1
    return before, behind


@compiled
def equal(cells: FloatArray, axis: int, one: int, other: int) -> bool:
    """Whether two rows (or columns) are the same."""
    same = True
    for i in range(cells.shape[1 - axis]):
        same &= (cells[one, i] == cells[other, i]) if axis == 0 else (cells[i, one] == cells[i, other])
    return same


@compiled
def inner(cells: int, pixels: int, before: int, behind: int) -> tuple[int, int]:
    """The last pixel up to the centre of cell ``before``, and the first from the centre of cell ``behind`` the last."""
    if before == cells - 1:
        return (pixels - 1) // 2, (pixels - 1) // 2
    first, last = 0, pixels - 1
    # With a tolerance, so that rounding does not move a pixel on a centre beyond it.
    while first < last and position(first + 1, cells, pixels) <= before + 1e-9:
        first += 1
    while last > first and position(last - 1, cells, pixels) >= cells - 1 - behind - 1e-9:
        last -= 1
    return first, last


@compiled
def candidates(cells: int, pixels: int, first: int, last: int) -> Indices:
    """Pixels from ``first`` to ``last`` among which the maximum must lie: the first and the last between two centres.

    Between the centres of four cells the resized map is bilinear, and the maximum of a bilinear function over a
    rectangle lies in one of its corners.
    """
    found, count = np.zeros(2 * cells + 4, np.int64), 1
    found[0], interval = first, np.floor(position(first, cells, pixels))
    for pixel in range(first + 1, last + 1):
        before, interval = interval, np.floor(position(pixel, cells, pixels))
        if interval == before:
            continue
        if found[count - 1] < pixel - 1:
            found[count] = pixel - 1
            count += 1
        found[count] = pixel
        count += 1
    if found[count - 1] < last:
        found[count] = last
        count += 1
    return found[:count]


@compiled
def sample(cells: FloatArray, columns: Indices, rows: Indices, width: int, height: int) -> Doubles:
    """The map resized to ``width`` and ``height``, in double precision, at some columns and rows, row by row."""
    across = np.empty((cells.shape[0], len(columns)))
    for i in range(len(columns)):
        x = min(max(position(columns[i], cells.shape[1], width), 0.0), cells.shape[1] - 1.0)
        left = int(x)
        right, share = min(left + 1, cells.shape[1] - 1), x - left
        for row in range(cells.shape[0]):
            across[row, i] = cells[row, left] * (1 - share) + cells[row, right] * share
    heights = np.empty(len(rows) * len(columns))
    for i in range(len(rows)):
        y = min(max(position(rows[i], cells.shape[0], height), 0.0), cells.shape[0] - 1.0)
        top = int(y)
        bottom, share = min(top + 1, cells.shape[0] - 1), y - top
        for j in range(len(columns)):
            heights[i * len(columns) + j] = across[top, j] * (1 - share) + across[bottom, j] * share
    return heights
