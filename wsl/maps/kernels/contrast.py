"""Scores of boxes by how much a map stands out inside of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
from wsl.maps.kernels.ranking import in_order
from wsl.maps.kernels.rows import appended

Doubles = npt.NDArray[np.float64]
Table = npt.NDArray[np.int64]

# How far the surroundings of a box reach beyond it on each side, in parts of its own width and height.
REACH = 0.25


@compiled
def contrasted(
    maps: FloatArray, sizes: Table, boxes: FloatArray, scores: FloatArray, counts: Table
) -> tuple[FloatArray, FloatArray]:
    """The boxes of several maps with their scores multiplied by (1 + `contrast`) / 2, each map's best first.

    Shape:
        ``maps`` is (M, h, w), ``sizes`` (M, 2) the (width, height) of the images; ``boxes`` (n, 4) and ``scores`` (n,)
        are those of all maps, so many of each as ``counts`` (M,) says.
    """
    ordered, values, start = np.empty(boxes.shape, np.float32), np.empty(scores.shape, np.float32), 0
    for i in range(len(maps)):
        sums, across, down = integral(maps[i]), maps.shape[2] / sizes[i, 0], maps.shape[1] / sizes[i, 1]
        some, changed = boxes[start : start + counts[i]], np.empty(counts[i], np.float32)
        for row in range(counts[i]):
            x0, y0, x1, y1 = some[row, 0] * across, some[row, 1] * down, some[row, 2] * across, some[row, 3] * down
            changed[row] = scores[start + row] * (1 + contrast(sums, x0, y0, x1, y1)) / 2
        found, best = in_order(some, changed)
        ordered, values = appended(ordered, values, start, found, best)
        start += counts[i]
    return ordered, values


@compiled
def integral(cells: FloatArray) -> Doubles:
    """The sums of all cells above and to the left of each corner, (h + 1, w + 1), with values clipped to [0, 1]."""
    height, width = cells.shape
    sums = np.zeros((height + 1, width + 1))
    for y in range(height):
        row = 0.0
        for x in range(width):
            row += min(max(cells[y, x], 0.0), 1.0)
            sums[y + 1, x + 1] = sums[y, x + 1] + row
    return sums


@compiled
def contrast(sums: Doubles, x0: float, y0: float, x1: float, y1: float) -> float:
    """The mean of a map inside a box minus the mean of its surroundings, 0 where they lie outside of the map."""
    height, width = sums.shape[0] - 1.0, sums.shape[1] - 1.0
    reach_x, reach_y = REACH * (x1 - x0), REACH * (y1 - y0)
    left, top = max(x0 - reach_x, 0.0), max(y0 - reach_y, 0.0)
    right, bottom = min(x1 + reach_x, width), min(y1 + reach_y, height)
    area, inside = (x1 - x0) * (y1 - y0), within(sums, x0, y0, x1, y1)
    around, outside = (right - left) * (bottom - top) - area, within(sums, left, top, right, bottom) - inside
    # Coordinates are rounded to float32, so surroundings that do not exist need not be exactly empty.
    return inside / area - (outside / around if around > 1e-5 * area else 0.0)


@compiled
def within(sums: Doubles, x0: float, y0: float, x1: float, y1: float) -> float:
    """The sum of the cells inside a box, counting each by the part that the box covers."""
    return corner(sums, x1, y1) - corner(sums, x0, y1) - corner(sums, x1, y0) + corner(sums, x0, y0)


@compiled
def corner(sums: Doubles, x: float, y: float) -> float:
    """The sum of all cells above and to the left of a point."""
    left, top = min(max(int(x), 0), sums.shape[1] - 2), min(max(int(y), 0), sums.shape[0] - 2)
    right, below = min(x - left, 1.0), min(y - top, 1.0)
    upper = sums[top, left] + (sums[top, left + 1] - sums[top, left]) * right
    lower = sums[top + 1, left] + (sums[top + 1, left + 1] - sums[top + 1, left]) * right
    return float(upper + (lower - upper) * below)
