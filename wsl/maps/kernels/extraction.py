"""Boxes of maps in one compiled call: resample, normalise, threshold, then label, choose and measure components.

Foreground is stored as runs, which are horizontal stretches of foreground pixels; components are unions of runs.

These are loops over numbers, because compiling functions of NumPy, such as `concatenate` or selections by index arrays,
would take most of the time of the first call.

Source: He, Chao & Suzuki, A Run-Based Two-Scan Labeling Algorithm, IEEE Transactions on Image Processing 2008.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
from wsl.maps.kernels.nesting import parted
from wsl.maps.kernels.ranking import in_order
from wsl.maps.kernels.rows import appended, selected
from wsl.maps.kernels.suppression import kept

Integers = npt.NDArray[np.int32]
Table = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

LARGEST, PEAK, ALL = range(3)
X0, Y0, X1, Y1, AREA = range(5)
START, END, ROW, LABEL = range(4)
EMPTY, FULL = np.uint64(0), np.uint64(0x0101010101010101)


@compiled
def extract_all(
    maps: FloatArray, sizes: Table, working: Table, thresholds: Doubles, rule: int, min_area: float, nms_iou: float
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """The boxes of several maps, concatenated: boxes (n, 4), scores (n,), and each map's number of boxes.

    A box whose IoU with a higher-scored box of its map is above ``nms_iou`` is dropped.

    Shape:
        ``maps`` is (M, h, w); ``sizes`` and ``working`` are (M, 2), the (width, height) of the image and of the
        resolution to work in; the other arguments as for `extract`.
    """
    boxes, scores = np.empty((len(maps), 4), np.float32), np.empty(len(maps), np.float32)
    counts, total = np.zeros(len(maps), np.int64), 0
    for i in range(len(maps)):
        size, shape = (sizes[i, 0], sizes[i, 1]), (working[i, 1], working[i, 0])
        found, heights = extract(maps[i], shape, thresholds, rule, min_area, size)
        if nms_iou < 1:
            best = kept(found, heights, np.zeros(len(heights), np.int64), nms_iou)
            found, heights = selected(found, heights, best)
        boxes, scores = appended(boxes, scores, total, found, heights)
        counts[i] = len(heights)
        total += len(heights)
    return boxes[:total], scores[:total], counts


@compiled
def extract(
    cells: FloatArray, shape: tuple[int, int], thresholds: Doubles, rule: int, min_area: float, size: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Boxes (n, 4) in pixels of an image of ``size`` (width, height) and their scores (n,), highest score first.

    For several ascending thresholds, the boxes are those of the first and those that they split into (`parted`).

    Shape:
        ``cells`` is (h, w), ``shape`` the (H, W) of the resolution to work in, ``rule`` one of the numbers above; the
        other arguments as for `boxes_from_map`.
    """
    lowest, highest, finite = extremes(cells)
    if not finite or lowest == highest:
        return np.empty((0, 4), np.float32), np.empty(0, np.float32)
    heat = bilinear(cells, shape)
    lowest, highest, finite = extremes(heat)
    span = highest - lowest
    if not finite or not 0 < span < np.inf:
        return np.empty((0, 4), np.float32), np.empty(0, np.float32)
    mask = normalise_and_cut(heat, lowest, span, np.float32(thresholds[0]))
    boxes, scores = boxes_of(heat, mask, rule, min_area, size)
    if len(thresholds) == 1:
        return boxes, scores
    ends = np.empty(len(thresholds), np.int64)
    ends[0] = count = len(scores)
    for level in range(1, len(thresholds)):
        cut(heat, np.float32(thresholds[level]), mask)
        found, heights = boxes_of(heat, mask, rule, min_area, size)
        boxes, scores = appended(boxes, scores, count, found, heights)
        count += len(heights)
        ends[level] = count
    return parted(boxes, scores, ends)


@compiled
def boxes_of(
    heat: FloatArray, mask: npt.NDArray[np.uint8], rule: int, min_area: float, size: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Boxes and scores of the foreground of a map in [0, 1], as `extract` returns them."""
    runs = runs_of(mask)
    components = number_components(runs)
    if rule == LARGEST:
        chosen = largest(components)
    elif rule == PEAK:
        chosen = holding_peak(heat, runs)
    else:
        chosen = extensive(components, min_area * heat.size)
    scores = maxima(heat, runs, chosen, len(components))
    return in_order(in_pixels(components, chosen, heat.shape, size), scores)


@compiled
def bilinear(cells: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """A map resampled bilinearly: half-pixel centres, with the outermost cells extended to the border.

    If neighbouring cells are equal, the pixels between them are equal to the bit.

    Shape:
        ``cells`` is (h, w); the result has ``shape`` (H, W).
    """
    height, width = shape
    lefts, shares = places(cells.shape[1], width)
    tops, below = places(cells.shape[0], height)
    across = np.empty((cells.shape[0], width), np.float32)
    for y in range(cells.shape[0]):
        for x in range(width):
            left, right = cells[y, lefts[x]], cells[y, min(lefts[x] + 1, cells.shape[1] - 1)]
            across[y, x] = left + (right - left) * shares[x]
    result = np.empty((height, width), np.float32)
    for y in range(height):
        upper, lower = across[tops[y]], across[min(tops[y] + 1, cells.shape[0] - 1)]
        share, row = below[y], result[y]
        for x in range(width):
            row[x] = upper[x] + (lower[x] - upper[x]) * share
    return result


@compiled
def places(cells: int, pixels: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """For each pixel along one axis, the cell to its left and the fractional distance from it to the next cell."""
    left, share = np.empty(pixels, np.int64), np.empty(pixels, np.float32)
    for pixel in range(pixels):
        place = min(max((pixel + 0.5) * (cells / pixels) - 0.5, 0.0), cells - 1.0)
        left[pixel] = int(place)
        share[pixel] = place - left[pixel]
    return left, share


@compiled
def extremes(values: FloatArray) -> tuple[Any, Any, bool]:
    """The lowest and the highest value, and whether all values are finite."""
    height, width = values.shape
    # One minimum for each column, because a loop with a single minimum is not vectorised.
    low, high, residue = np.empty(width, np.float32), np.empty(width, np.float32), np.zeros(width, np.float32)
    for x in range(width):
        low[x] = high[x] = values[0, x]
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            low[x] = value if value < low[x] else low[x]
            high[x] = value if value > high[x] else high[x]
            residue[x] += value - value
    lowest, highest, finite = low[0], high[0], True
    for x in range(width):
        lowest, highest = min(lowest, low[x]), max(highest, high[x])
        finite &= residue[x] == 0
    return lowest, highest, finite


@compiled
def normalise_and_cut(heat: FloatArray, low: Any, span: Any, threshold: Any) -> npt.NDArray[np.uint8]:
    """Stretch ``heat`` to [0, 1] in place, and return a mask of what exceeds the threshold, rows padded with 0.

    Shape:
        ``heat`` is (H, W); the result has H rows and at least W + 1 columns, a multiple of 8.
    """
    height, width = heat.shape
    mask = np.zeros((height, (width + 8) // 8 * 8), np.uint8)
    for y in range(height):
        for x in range(width):
            value = (heat[y, x] - low) / span
            heat[y, x] = value
            mask[y, x] = value > threshold
    return mask


@compiled
def cut(heat: FloatArray, threshold: Any, mask: npt.NDArray[np.uint8]) -> None:
    """Overwrite a mask from `normalise_and_cut` with the foreground of a map in [0, 1]."""
    for y in range(heat.shape[0]):
        for x in range(heat.shape[1]):
            mask[y, x] = heat[y, x] > threshold


@compiled
def runs_of(mask: npt.NDArray[np.uint8]) -> Integers:
    """Runs in reading order: first column, column after the last, row, and an earlier run of the same component.

    Shape:
        ``mask`` is as returned by `normalise_and_cut`; the result is (n, 4). The first run of a component refers to
        itself.
    """
    height, width = mask.shape
    words = mask.view(np.uint64)
    runs = np.empty((height * (width // 2), 4), np.int32)
    count, above, last_above = 0, 0, 0
    for y in range(height):
        first, inside = count, False
        for word in range(width // 8):
            # Most words lie entirely within the foreground or the background.
            if words[y, word] == (FULL if inside else EMPTY):
                continue
            for x in range(8 * word, 8 * word + 8):
                if (mask[y, x] == 1) != inside:
                    if inside:
                        runs[count, END] = x
                        count += 1
                    else:
                        runs[count, START], runs[count, ROW], runs[count, LABEL] = x, y, count
                    inside = not inside
        for run in range(first, count):
            while above < last_above and runs[above, END] < runs[run, START]:
                above += 1
            touching = above
            while touching < last_above and runs[touching, START] <= runs[run, END]:
                unite(runs, touching, run)
                touching += 1
        above, last_above = first, count
    return runs[:count]


@compiled
def unite(runs: Integers, one: int, other: int) -> None:
    """Merge the components of two runs; the first run of both represents the result."""
    one, other = root_of(runs, one), root_of(runs, other)
    runs[max(one, other), LABEL] = min(one, other)


@compiled
def root_of(runs: Integers, run: int) -> int:
    """The run that represents a run's component."""
    while runs[run, LABEL] != run:
        runs[run, LABEL] = runs[runs[run, LABEL], LABEL]
        run = runs[run, LABEL]
    return run


@compiled
def number_components(runs: Integers) -> Table:
    """Number the components in the order of their first runs, label the runs accordingly, and measure the components.

    Shape:
        ``runs`` is (n, 4); the result is (components, 5): half-open box and number of pixels.
    """
    table, count = np.empty((len(runs), 5), np.int64), 0
    for i in range(len(runs)):
        start, end, row, before = runs[i, START], runs[i, END], runs[i, ROW], runs[i, LABEL]
        if before == i:
            number = count
            count += 1
            table[number, X0], table[number, Y0], table[number, X1], table[number, AREA] = start, row, end, 0
        else:
            # A run refers to an earlier run, which is already numbered.
            number = runs[before, LABEL]
        runs[i, LABEL] = number
        table[number, X0], table[number, X1] = min(table[number, X0], start), max(table[number, X1], end)
        table[number, Y1] = row + 1
        table[number, AREA] += end - start
    return table[:count]


@compiled
def largest(components: Table) -> npt.NDArray[np.intp]:
    """The component with the most pixels; ties go to the topmost, then the leftmost box, then the first component."""
    best = 0
    for i in range(1, len(components)):
        area, most = components[i, AREA], components[best, AREA]
        # A component with a higher number never starts in an earlier row.
        level = area == most and components[i, Y0] == components[best, Y0]
        if area > most or (level and components[i, X0] < components[best, X0]):
            best = i
    chosen = np.empty(min(1, len(components)), np.intp)
    for i in range(len(chosen)):
        chosen[i] = best
    return chosen


@compiled
def holding_peak(heat: FloatArray, runs: Integers) -> npt.NDArray[np.intp]:
    """The component of the first pixel, in reading order, with the maximum value 1."""
    chosen = np.empty(1, np.intp)
    for run in range(len(runs)):
        stretch = heat[runs[run, ROW], runs[run, START] : runs[run, END]]
        for x in range(len(stretch)):
            if stretch[x] == 1:
                chosen[0] = runs[run, LABEL]
                return chosen
    return chosen[:0]


@compiled
def extensive(components: Table, least: float) -> npt.NDArray[np.intp]:
    """The components of at least so many pixels."""
    chosen, count = np.empty(len(components), np.intp), 0
    for i in range(len(components)):
        if components[i, AREA] >= least:
            chosen[count] = i
            count += 1
    return chosen[:count]


@compiled
def maxima(heat: FloatArray, runs: Integers, chosen: npt.NDArray[np.intp], count: int) -> FloatArray:
    """The maximum of ``heat`` inside each chosen component, out of ``count`` components.

    Shape:
        ``chosen`` is (n,); the result is (n,).
    """
    place = np.zeros(count, np.int64)
    for i in range(len(chosen)):
        place[chosen[i]] = i + 1
    # Non-negative floats sort as their bits do, and a loop over integer maxima is vectorised.
    bits, tops = heat.view(np.int32), np.zeros(len(chosen) + 1, np.int32)
    for run in range(len(runs)):
        at = place[runs[run, LABEL]]
        if at > 0:
            stretch, top = bits[runs[run, ROW], runs[run, START] : runs[run, END]], tops[at]
            for x in range(len(stretch)):
                top = max(top, stretch[x])
            tops[at] = top
    return tops[1:].view(np.float32)


@compiled
def in_pixels(
    components: Table, chosen: npt.NDArray[np.intp], shape: tuple[int, int], size: tuple[int, int]
) -> FloatArray:
    """Boxes of the chosen components, scaled from a map of ``shape`` (h, w) to an image of ``size`` (width, height)."""
    boxes = np.empty((len(chosen), 4), np.float32)
    for i in range(len(chosen)):
        for side in range(4):
            boxes[i, side] = components[chosen[i], side] * size[side % 2] / shape[1 - side % 2]
    return boxes
