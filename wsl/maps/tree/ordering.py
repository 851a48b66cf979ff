"""Levels of a map's pixels, and the pixels sorted by level, by counting sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.compiled import compiled
from wsl.maps.tree.neighbourhoods import SHAPES_COMPONENT, SHAPES_HOLE, Neighbourhoods

Levels = npt.NDArray[Any]
Order = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

BUCKETS = 4096


@compiled
def threshold_levels(heat: FloatArray, thresholds: FloatArray) -> npt.NDArray[np.int32]:
    """How many of the thresholds each value exceeds: a value exceeds threshold i if and only if its level does.

    Shape:
        ``heat`` is (h, w) in [0, 1], ``thresholds`` (T,) ascending in [0, 1]; the result is (h, w), 0 to T.
    """
    height, width = heat.shape
    # Thresholds in a lower bucket than the value's are below the value, so counting starts after them.
    behind = np.zeros(BUCKETS + 2, np.int64)
    for threshold in thresholds:
        behind[int(threshold * np.float32(BUCKETS)) + 1] += 1
    for bucket in range(BUCKETS + 1):
        behind[bucket + 1] += behind[bucket]
    levels = np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            value = heat[y, x]
            exceeded = behind[int(value * np.float32(BUCKETS))]
            while exceeded < len(thresholds) and thresholds[exceeded] < value:
                exceeded += 1
            levels[y, x] = exceeded
    return levels


@compiled
def eight_bits(values: npt.NDArray[Any], scale: Any) -> tuple[npt.NDArray[np.uint8], int, bool]:
    """``uint8(values * scale)``, its maximum, and whether all values lie in [0, 1].

    Shape:
        ``values`` is (h, w), and ``scale`` the number 255 in the precision of the values.
    """
    height, width = values.shape
    levels, highest, valid = np.empty((height, width), np.uint8), 0, True
    for y in range(height):
        for x in range(width):
            value = values[y, x]
            valid &= (value >= 0) & (value <= 1)
            levels[y, x] = np.uint8(value * scale)
        if not valid:
            return levels, highest, False
        highest = max(highest, levels[y].max())
    return levels, highest, True


@compiled
def order_by_level(levels: Levels, count: int, stride: int) -> tuple[Order, Offsets]:
    """Pixels from the lowest level to the highest, in reading order within a level.

    Shape:
        ``levels`` is (h, w), whole numbers from 0 to ``count`` - 1. The first result lists the h*w numbers of pixels
        (see `components`); the pixels of level l are those from the second result's entry l to its entry l + 1.
    """
    height, width = levels.shape
    offsets = np.zeros(count + 1, np.int64)
    for y in range(height):
        for x in range(width):
            offsets[np.intp(levels[y, x]) + 1] += 1
    for level in range(count):
        offsets[level + 1] += offsets[level]
    following = offsets[:-1].copy()
    order = np.empty(height * width, np.uint32)
    for y in range(height):
        start = (y + 1) * stride + 1
        for x in range(width):
            place = following[np.intp(levels[y, x])]
            order[place] = start + x
            following[np.intp(levels[y, x])] = place + 1
    return order, offsets


@compiled
def order_of_shaping_pixels(
    levels: Levels, neighbourhoods: Neighbourhoods, outer: Neighbourhoods, count: int, stride: int
) -> tuple[Order, Offsets, Order, Offsets]:
    """As `order_by_level`, once with only the pixels that shape components, once with only those that shape holes.

    A pixel shapes a component if it starts one, joins several, or can widen a box (see `neighbourhoods`).

    Shape:
        ``neighbourhoods`` and ``outer`` are indexed by pixel numbers.
    """
    height, width = levels.shape
    components, holes = np.empty(height * width + 1, np.uint32), np.empty(height * width + 1, np.uint32)
    of_components, of_holes = np.empty(len(components), levels.dtype), np.empty(len(holes), levels.dtype)
    n_components, n_holes = 0, 0
    for y in range(height):
        start = (y + 1) * stride + 1
        for x in range(width):
            neighbours = neighbourhoods[np.uint64(start + x)]
            # Always written, and kept only if needed: a branch would often be mispredicted.
            components[np.uint64(n_components)] = holes[np.uint64(n_holes)] = start + x
            of_components[np.uint64(n_components)] = of_holes[np.uint64(n_holes)] = levels[y, x]
            n_components += SHAPES_COMPONENT[neighbours, outer[np.uint64(start + x)]]
            n_holes += SHAPES_HOLE[neighbours]
    order, offsets = _sorted(components[:n_components], of_components, count)
    other, other_offsets = _sorted(holes[:n_holes], of_holes, count)
    return order, offsets, other, other_offsets


@compiled
def _sorted(pixels: Order, levels: Levels, count: int) -> tuple[Order, Offsets]:
    offsets = np.zeros(count + 1, np.int64)
    for i in range(len(pixels)):
        offsets[np.intp(levels[i]) + 1] += 1
    for level in range(count):
        offsets[level + 1] += offsets[level]
    following = offsets[:-1].copy()
    order = np.empty(len(pixels), np.uint32)
    for i in range(len(pixels)):
        place = following[np.intp(levels[i])]
        order[place] = pixels[i]
        following[np.intp(levels[i])] = place + 1
    return order, offsets


@compiled
def order_by_value(heat: FloatArray, stride: int) -> tuple[Order, Offsets, FloatArray]:
    """As `order_by_level` with a level for each distinct value, and those values in ascending order.

    Non-negative floats sort as the integers given by their bits: three passes of eleven bits.

    Shape:
        ``heat`` is (h, w), without negative values.
    """
    height, width = heat.shape
    size = height * width
    keys = heat.ravel().view(np.uint32)
    order, other = np.empty(size, np.uint32), np.empty(size, np.uint32)
    for i in range(size):
        order[i] = i
    for shift in (0, 11, 22):
        following = np.zeros(2049, np.int64)
        for i in range(size):
            following[((keys[i] >> np.uint32(shift)) & np.uint32(2047)) + 1] += 1
        for digit in range(2048):
            following[digit + 1] += following[digit]
        for i in range(size):
            digit = (keys[order[i]] >> np.uint32(shift)) & np.uint32(2047)
            other[following[digit]] = order[i]
            following[digit] += 1
        order, other = other, order
    offsets, values, count = np.empty(size + 1, np.int64), np.empty(size, np.float32), 0
    for i in range(size):
        value = heat[order[i] // width, order[i] % width]
        if i == 0 or value != values[count - 1]:
            offsets[count], values[count] = i, value
            count += 1
        order[i] = (order[i] // width + 1) * stride + order[i] % width + 1
    offsets[count] = size
    return order, offsets[: count + 1].copy(), values[:count].copy()
