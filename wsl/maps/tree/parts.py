"""Parts of the foreground and holes in it, at every threshold: union-find over pixels in the order of their levels.

Pixels are numbered row-major in a grid with a border of one pixel, whose rows are ``stride`` (a power of two) apart:
pixel (x, y) has the number ``(y + 1) * stride + x + 1``. Columns and pixels of a record count that border too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled
from wsl.maps.tree.rings import (
    AREA_OF,
    BEGINS,
    EULER_OF,
    HOLE_AT,
    HOLE_EVENT,
    MEETS,
    PART_AT,
    PART_EVENT,
    PLACES,
    Rings,
)  # fmt: skip

Records = npt.NDArray[np.int32]
Labels = npt.NDArray[np.uint32]
Order = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]
Number = int | np.int32
Pixel = int | np.int64

# What is known of a part: its first and last column, its first and last pixel in reading order, its number of pixels,
# the pixel of its extreme level, its 2x2 blocks and its holes (see `islands`), and the levels at which it came to this
# state and left it.
X0, X1, FIRST, LAST, AREA, PEAK, BLOCKS, EULER, SINCE, UNTIL = range(10)
COLUMNS = 10
OUTSIDE = 1


@compiled
def islands(
    order: Order, offsets: Offsets, rings: Rings, stride: int, pick: bool, outlines: bool
) -> tuple[Records, Records]:
    """Every state of every part of the foreground (8-connected), and with ``pick`` the largest at every threshold.

    A row of the first result is a part at the thresholds i with ``UNTIL <= i < SINCE``. ``PEAK`` is its highest pixel,
    of equals the first. With ``outlines``, ``BLOCKS`` is twice the area of the polygons between the centres of its
    pixels (2 for a block of 2x2 pixels, 1 for one that lacks a pixel), and ``EULER`` four times one less its number of
    holes. Row i of the second result is the part of most pixels at threshold i, of equals the topmost, then the
    leftmost box, then the first in reading order; its ``AREA`` is 0 for none.

    ``order`` may hold only the pixels of ``SHAPES_PART``; then levels and boxes are right, and nothing else.

    Shape:
        ``order`` and ``offsets`` as `ordering` gives them, ``rings`` as `rings` does; (n, 10) and (levels - 1, 10),
        columns as above.
    """
    levels = len(offsets)
    labels = np.zeros(len(rings), np.uint32)
    # No two pixels that begin a part are neighbours.
    capacity = len(rings) // 4 + stride
    root, births, touched = np.empty(capacity, np.uint32), np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    state, records = np.empty((capacity, COLUMNS), np.int32), np.empty((1024, COLUMNS), np.int32)
    largest = np.empty((levels - 2 if pick else 0, COLUMNS), np.int32)
    toward = np.empty(256, np.int64)
    for ring in range(256):
        toward[ring] = PART_AT[ring, 0] * stride + PART_AT[ring, 1]
    parts, count, best = 0, 0, 0
    begin(root, state, 0, 0, 0, 0)
    state[0, AREA] = 0
    for level in range(levels - 2, 0, -1):
        changed = 0
        records = with_room(records, count, min(parts, 5 * (offsets[level + 1] - offsets[level])))
        for i in range(offsets[level], offsets[level + 1]):
            pixel = np.int64(order[np.uint64(i)])
            ring = rings[np.uint64(pixel)]
            event = PART_EVENT[ring]
            number, column = np.int32(pixel), np.int32(pixel & (stride - 1))
            if event == BEGINS:
                parts += 1
                births[parts] = number
                begin(root, state, parts, number, column, level)
                labels[pixel] = touched[changed] = parts
                changed += 1
                continue
            part = find(root, label_at(labels, rings, toward, pixel + toward[ring]))
            if state[part, SINCE] != level:
                touched[changed] = part
                changed += 1
                count = record(state, part, level, records, count)
            if event == MEETS:
                for bit in range(8):
                    if ring >> bit & 1:
                        beside = pixel + PLACES[bit][0] * stride + PLACES[bit][1]
                        other = find(root, label_at(labels, rings, toward, beside))
                        if other != part:
                            count = record(state, other, level, records, count)
                            part = join(root, state, part, other)
            labels[np.uint64(pixel)] = part
            grow(state, part, number, column)
            if outlines:
                state[part, BLOCKS] += AREA_OF[ring]
                state[part, EULER] += EULER_OF[ring]
        if pick:
            best = find(root, best)
            for k in range(changed):
                best = larger(state, best, find(root, touched[k]), np.int32(stride))
            for k in range(COLUMNS):
                largest[level - 1, k] = state[best, k]
    records = with_room(records, count, parts)
    for part in range(1, parts + 1):
        if root[part] == part:
            count = record(state, part, 0, records, count)
    for k in range(count):
        records[k, PEAK] = births[records[k, PEAK]]
    return records[:count].copy(), largest


@compiled
def lakes(order: Order, offsets: Offsets, rings: Rings, width: int, stride: int) -> Records:
    """Every state of every hole in the foreground: 4-connected background that does not reach the map's border.

    A row is a hole at the thresholds i with ``SINCE <= i < UNTIL``. ``order`` may hold only the pixels of
    ``SHAPES_HOLE``; then levels and boxes are right, and nothing else.

    Shape:
        ``order`` and ``offsets`` as `ordering` gives them, ``rings`` as `rings` does; (n, 10), columns as above.
    """
    levels = len(offsets)
    labels = np.zeros(len(rings), np.uint32)
    last = len(rings) - stride
    labels[: stride + 1] = labels[last:] = OUTSIDE
    for start in range(stride, last, stride):
        labels[start] = labels[start + width + 1] = OUTSIDE
    # No two pixels that begin a hole are neighbours.
    capacity = len(order) // 2 + 3
    root = np.empty(capacity, np.uint32)
    state, records = np.empty((capacity, COLUMNS), np.int32), np.empty((1024, COLUMNS), np.int32)
    toward = np.empty(256, np.int64)
    for ring in range(256):
        toward[ring] = HOLE_AT[ring, 0] * stride + HOLE_AT[ring, 1]
    parts, count, standing = OUTSIDE, 0, 0
    begin(root, state, OUTSIDE, 0, 0, 0)
    for level in range(levels - 2):
        # The outside is never written down.
        state[OUTSIDE, SINCE] = level
        records = with_room(records, count, min(parts, 4 * (offsets[level + 1] - offsets[level])))
        for i in range(offsets[level + 1] - 1, offsets[level] - 1, -1):
            pixel = np.int64(order[np.uint64(i)])
            ring = rings[np.uint64(pixel)]
            event = HOLE_EVENT[ring]
            if standing == 0 and event != BEGINS:
                # What is passed over while there is no hole belongs to the outside, and leads there.
                continue
            number, column = np.int32(pixel), np.int32(pixel & (stride - 1))
            if event == BEGINS:
                parts += 1
                standing += 1
                begin(root, state, parts, number, column, level)
                labels[np.uint64(pixel)] = parts
                continue
            part = find(root, label_at(labels, rings, toward, pixel + toward[ring]))
            if event == MEETS:
                count = record(state, part, level, records, count)
                for bit in (1, 3, 4, 6):
                    if not ring >> bit & 1:
                        beside = pixel + PLACES[bit][0] * stride + PLACES[bit][1]
                        other = find(root, label_at(labels, rings, toward, beside))
                        if other != part:
                            standing -= 1
                            count = record(state, other, level, records, count)
                            if min(part, other) == OUTSIDE:
                                root[max(part, other)] = part = OUTSIDE
                            else:
                                part = join(root, state, part, other)
            labels[np.uint64(pixel)] = part
            if part != OUTSIDE:
                count = record(state, part, level, records, count)
                grow(state, part, number, column)
    records = with_room(records, count, parts)
    for part in range(OUTSIDE + 1, parts + 1):
        if root[part] == part:
            count = record(state, part, levels - 2, records, count)
    return records[:count].copy()


@compiled
def find(root: Labels, label: int) -> int:
    """The label that stands for a label's part."""
    while root[label] != label:
        root[label] = root[root[label]]
        label = root[label]
    return label


@compiled
def label_at(labels: Labels, rings: Rings, toward: npt.NDArray[np.int64], pixel: Pixel) -> int:
    """The label of a pixel that was passed over: that of the first one with a label on the way to its part's origin."""
    end = pixel
    while labels[np.uint64(end)] == 0:
        end += toward[rings[np.uint64(end)]]
    label: int = labels[np.uint64(end)]
    while pixel != end:
        labels[np.uint64(pixel)] = label
        pixel += toward[rings[np.uint64(pixel)]]
    return label


@compiled
def begin(root: Labels, state: Records, label: int, pixel: Number, column: Number, level: int) -> None:
    """A new part of one pixel."""
    root[label] = label
    state[label, X0] = state[label, X1] = column
    state[label, FIRST] = state[label, LAST] = pixel
    state[label, AREA] = 1
    state[label, PEAK] = label
    state[label, BLOCKS] = 0
    state[label, EULER] = 4
    state[label, SINCE] = level


@compiled
def grow(state: Records, label: int, pixel: Number, column: Number) -> None:
    """Add a pixel to a part."""
    if column < state[label, X0]:
        state[label, X0] = column
    elif column > state[label, X1]:
        state[label, X1] = column
    if pixel < state[label, FIRST]:
        state[label, FIRST] = pixel
    elif pixel > state[label, LAST]:
        state[label, LAST] = pixel
    state[label, AREA] += 1


@compiled
def join(root: Labels, state: Records, part: int, other: int) -> int:
    """Make one part of two, under the label of the larger one, which most pixels bear."""
    kept, gone = (other, part) if state[other, AREA] > state[part, AREA] else (part, other)
    root[gone] = kept
    state[kept, X0] = min(state[kept, X0], state[gone, X0])
    state[kept, X1] = max(state[kept, X1], state[gone, X1])
    state[kept, FIRST] = min(state[kept, FIRST], state[gone, FIRST])
    state[kept, LAST] = max(state[kept, LAST], state[gone, LAST])
    state[kept, AREA] += state[gone, AREA]
    # Labels count up in the order of visits, so the lower one holds the more extreme pixel.
    state[kept, PEAK] = min(state[kept, PEAK], state[gone, PEAK])
    state[kept, BLOCKS] += state[gone, BLOCKS]
    state[kept, EULER] += state[gone, EULER]
    return kept


@compiled
def record(state: Records, label: int, level: int, records: Records, count: int) -> int:
    """Write down what a part was before its first change at a level; the number of records after that."""
    if state[label, SINCE] != level:
        for column in range(UNTIL):
            records[count, column] = state[label, column]
        records[count, UNTIL] = level
        state[label, SINCE] = level
        count += 1
    return count


@compiled
def with_room(records: Records, count: int, more: int) -> Records:
    """The same records with room for more: one a level for each part, and for each pixel and part next to it."""
    # Most maps need a few hundred: room for the worst case would cost more than all the rest.
    if count + more <= len(records):
        return records
    longer = np.empty((count + max(more, count), COLUMNS), np.int32)
    longer[:count] = records[:count]
    return longer


@compiled
def larger(state: Records, one: int, other: int, stride: Number) -> int:
    """Of two parts the one of more pixels, then the topmost, then the leftmost, then the first in reading order."""
    if state[other, AREA] != state[one, AREA]:
        return other if state[other, AREA] > state[one, AREA] else one
    if state[other, FIRST] // stride != state[one, FIRST] // stride:
        return other if state[other, FIRST] < state[one, FIRST] else one
    if state[other, X0] != state[one, X0]:
        return other if state[other, X0] < state[one, X0] else one
    return other if state[other, FIRST] < state[one, FIRST] else one
