"""The highest pixel of a map resized bilinearly, from the few pixels that can be it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@compiled
def highest_pixels(maps: FloatArray, sizes: Indices) -> tuple[Indices, npt.NDArray[np.bool_]]:
    """The highest pixel of each map, (M, 2), and whether rounding leaves no doubt about it, (M,).

    Shape:
        ``maps`` is (M, h, w), ``sizes`` (M, 2): the (width, height) that a map is resized to.
    """
    pixels, certain = np.empty((len(maps), 2), np.int64), np.empty(len(maps), np.bool_)
    for i in range(len(maps)):
        pixels[i, 0], pixels[i, 1], certain[i] = highest_pixel(maps[i], sizes[i, 0], sizes[i, 1])
    return pixels, certain


@compiled
def highest_pixel(cells: FloatArray, width: int, height: int) -> tuple[int, int, bool]:
    """Column and row of the highest pixel of the resized map, and whether rounding leaves no doubt about it.

    Without contrast it is (0, 0), without doubt.

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
    columns, rows = candidates(cells.shape[1], width, True), candidates(cells.shape[0], height, True)
    heights = sample(cells, columns, rows, width, height)
    place = heights.argmax()
    top = heights.flat[place]
    # More than what float32 weights and sums can be off by. Between closer rivals their rounding decides.
    rounding = 1e-43 + 5e-7 * (max(cells.shape) * (high - low) + max(abs(low), abs(high)))
    rivals = 0
    for value in heights.flat:
        rivals += value >= top - rounding
    return columns[place % len(columns)], rows[place // len(columns)], rivals == 1


@compiled
def position(pixel: int, cells: int, pixels: int) -> float:
    """The centre of a pixel along one axis, in cells, as `bilinear` places it."""
    return (pixel + 0.5) * (cells / pixels) - 0.5


@compiled
def candidates(cells: int, pixels: int, constant: bool) -> Indices:
    """Pixels along one axis among which the maximum must lie: the first and the last between two cell centres.

    Between the centres of four cells the resized map is bilinear, and a bilinear function takes its maximum over a
    rectangle in one of the rectangle's corners. Outside the outermost centres it is constant along the axis. Where
    that holds to the bit, ``constant``, the first pixel there represents the others.
    """
    found, count, interval = np.zeros(2 * cells + 2, np.int64), 1, -1
    if constant and cells == 1:
        return found[:1]
    for pixel in range(1, pixels):
        before, place = interval, position(pixel, cells, pixels)
        interval = min(int(np.floor(place)), cells - 1) if place > 0 else -1
        if interval == before:
            continue
        if not (constant and before < 0) and found[count - 1] < pixel - 1:
            found[count] = pixel - 1
            count += 1
        found[count] = pixel
        count += 1
    if not (constant and interval == cells - 1) and found[count - 1] < pixels - 1:
        found[count] = pixels - 1
        count += 1
    return found[:count]


@compiled
def sample(cells: FloatArray, columns: Indices, rows: Indices, width: int, height: int) -> Doubles:
    """The map resized to ``width`` and ``height``, in double precision, at some columns and rows: (rows, columns)."""
    across = np.empty((cells.shape[0], len(columns)))
    for i in range(len(columns)):
        x = min(max(position(columns[i], cells.shape[1], width), 0.0), cells.shape[1] - 1.0)
        left = int(x)
        right, share = min(left + 1, cells.shape[1] - 1), x - left
        for row in range(cells.shape[0]):
            across[row, i] = cells[row, left] * (1 - share) + cells[row, right] * share
    heights = np.empty((len(rows), len(columns)))
    for i in range(len(rows)):
        y = min(max(position(rows[i], cells.shape[0], height), 0.0), cells.shape[0] - 1.0)
        top = int(y)
        bottom, share = min(top + 1, cells.shape[0] - 1), y - top
        for j in range(len(columns)):
            heights[i, j] = across[top, j] * (1 - share) + across[bottom, j] * share
    return heights
