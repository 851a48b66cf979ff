"""Components of the foreground and holes in it at every threshold, by union-find over pixels ordered by level.

Pixels are numbered row-major in a grid with a border of one pixel and rows of ``stride`` (a power of two) pixels: pixel
(x, y) has the number ``(y + 1) * stride + x + 1``. Column numbers in a record include that border.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled
from wsl.maps.tree.neighbourhoods import (
    AREA_OF,
    BEGINS,
    COMPONENT_AT,
    COMPONENT_EVENT,
    EULER_OF,
    HOLE_AT,
    HOLE_EVENT,
    MEETS,
    PLACES,
    Neighbourhoods,
)  # fmt: skip

Records = npt.NDArray[np.int32]
Labels = npt.NDArray[np.uint32]
Order = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]
Number = int | np.int32
Pixel = int | np.int64

# The columns of a record: the component's first and last column, its first and last pixel in reading order, its number
# of pixels, the pixel of its extreme level, its 2x2 blocks and its Euler number (see `component_records`), and the
# levels at which it entered and left this state.
X0, X1, FIRST, LAST, AREA, PEAK, BLOCKS, EULER, SINCE, UNTIL = range(10)
COLUMNS = 10
OUTSIDE = 1


@compiled
def component_records(
    order: Order, offsets: Offsets, neighbourhoods: Neighbourhoods, stride: int, pick: bool, outlines: bool
) -> tuple[Records, Records]:
    """Every state of every 8-connected component, and with ``pick`` the largest component at every threshold.

    A row of the first result is a component at the thresholds i with ``UNTIL <= i < SINCE``. ``PEAK`` is its highest
    pixel; ties go to the first. With ``outlines``, ``BLOCKS`` is twice the area of the polygons between the centres of
    its pixels (2 for a full block of 2x2 pixels, 1 for three of them), and ``EULER`` is four times (1 - its number of
    holes). Row i of the second result is the component with the most pixels at threshold i; ties go to the topmost,
    then the leftmost box, then the first in reading order. Its ``AREA`` is 0 if there is no component.

    ``order`` may list only the pixels of ``SHAPES_COMPONENT``; then only levels and boxes are valid.

    Shape:
        ``order``, ``offsets`` and ``neighbourhoods`` are as returned by the functions of those modules; the results
        are (n, 10) and (levels - 1, 10), columns as above.
    """
    levels = len(offsets)
    labels = np.zeros(len(neighbourhoods), np.uint32)
    # Two pixels that start a component are never neighbours.
    capacity = len(neighbourhoods) // 4 + stride
    root, births, touched = np.empty(capacity, np.uint32), np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    state, records = np.empty((capacity, COLUMNS), np.int32), np.empty((1024, COLUMNS), np.int32)
    largest = np.empty((levels - 2 if pick else 0, COLUMNS), np.int32)
    toward = COMPONENT_AT[:, 0] * stride + COMPONENT_AT[:, 1]
    components, count, best = 0, 0, 0
    begin(root, state, 0, 0, 0, 0)
    state[0, AREA] = 0
    for level in range(levels - 2, 0, -1):
        changed = 0
        records = with_room(records, count, min(components, 5 * (offsets[level + 1] - offsets[level])))
        for i in range(offsets[level], offsets[level + 1]):
            pixel = np.int64(order[np.uint64(i)])
            neighbours = neighbourhoods[np.uint64(pixel)]
            event = COMPONENT_EVENT[neighbours]
            number, column = np.int32(pixel), np.int32(pixel & (stride - 1))
            if event == BEGINS:
                components += 1
                births[components] = number
                begin(root, state, components, number, column, level)
                labels[pixel] = touched[changed] = components
                changed += 1
                continue
            component = find(root, label_at(labels, neighbourhoods, toward, pixel + toward[neighbours]))
            if state[component, SINCE] != level:
                touched[changed] = component
                changed += 1
                count = record(state, component, level, records, count)
            if event == MEETS:
                for bit in range(8):
                    if neighbours >> bit & 1:
                        beside = pixel + PLACES[bit][0] * stride + PLACES[bit][1]
                        other = find(root, label_at(labels, neighbourhoods, toward, beside))
                        if other != component:
                            count = record(state, other, level, records, count)
                            component = join(root, state, component, other)
            labels[np.uint64(pixel)] = component
            grow(state, component, number, column)
            if outlines:
                state[component, BLOCKS] += AREA_OF[neighbours]
                state[component, EULER] += EULER_OF[neighbours]
        if pick:
            best = find(root, best)
            for k in range(changed):
                best = larger(state, best, find(root, touched[k]), np.int32(stride))
            largest[level - 1] = state[best]
    records = with_last_states(root, state, 1, components, 0, records, count)
    for k in range(len(records)):
        records[k, PEAK] = births[records[k, PEAK]]
    return records, largest


@compiled
def hole_records(order: Order, offsets: Offsets, neighbourhoods: Neighbourhoods, width: int, stride: int) -> Records:
    """Every state of every hole in the foreground: 4-connected background that does not reach the map's border.

    A row is a hole at the thresholds i with ``SINCE <= i < UNTIL``. ``order`` may list only the pixels of
    ``SHAPES_HOLE``; then only levels and boxes are valid.

    Shape:
        As for `component_records`; the result is (n, 10).
    """
    levels = len(offsets)
    labels = np.zeros(len(neighbourhoods), np.uint32)
    last = len(neighbourhoods) - stride
    labels[: stride + 1] = labels[last:] = OUTSIDE
    for start in range(stride, last, stride):
        labels[start] = labels[start + width + 1] = OUTSIDE
    # Two pixels that start a hole are never neighbours.
    capacity = len(order) // 2 + 3
    root = np.empty(capacity, np.uint32)
    state, records = np.empty((capacity, COLUMNS), np.int32), np.empty((1024, COLUMNS), np.int32)
    toward = HOLE_AT[:, 0] * stride + HOLE_AT[:, 1]
    holes, count, standing = OUTSIDE, 0, 0
    begin(root, state, OUTSIDE, 0, 0, 0)
    for level in range(levels - 2):
        # The outside is never recorded.
        state[OUTSIDE, SINCE] = level
        records = with_room(records, count, min(holes, 4 * (offsets[level + 1] - offsets[level])))
        for i in range(offsets[level + 1] - 1, offsets[level] - 1, -1):
            pixel = np.int64(order[np.uint64(i)])
            neighbours = neighbourhoods[np.uint64(pixel)]
            event = HOLE_EVENT[neighbours]
            if standing == 0 and event != BEGINS:
                # A pixel skipped while there is no hole belongs to the outside, and points to it.
                continue
            number, column = np.int32(pixel), np.int32(pixel & (stride - 1))
            if event == BEGINS:
                holes += 1
                standing += 1
                begin(root, state, holes, number, column, level)
                labels[np.uint64(pixel)] = holes
                continue
            hole = find(root, label_at(labels, neighbourhoods, toward, pixel + toward[neighbours]))
            if event == MEETS:
                count = record(state, hole, level, records, count)
                for bit in (1, 3, 4, 6):
                    if not neighbours >> bit & 1:
                        beside = pixel + PLACES[bit][0] * stride + PLACES[bit][1]
                        other = find(root, label_at(labels, neighbourhoods, toward, beside))
                        if other != hole:
                            standing -= 1
                            count = record(state, other, level, records, count)
                            if min(hole, other) == OUTSIDE:
                                root[max(hole, other)] = hole = OUTSIDE
                            else:
                                hole = join(root, state, hole, other)
            labels[np.uint64(pixel)] = hole
            if hole != OUTSIDE:
                count = record(state, hole, level, records, count)
                grow(state, hole, number, column)
    return with_last_states(root, state, OUTSIDE + 1, holes, levels - 2, records, count)


@compiled
def find(root: Labels, label: int) -> int:
    """The label that represents a label's component."""
    while root[label] != label:
        root[label] = root[root[label]]
        label = root[label]
    return label


@compiled
def label_at(labels: Labels, neighbourhoods: Neighbourhoods, toward: npt.NDArray[np.int64], pixel: Pixel) -> int:
    """The label of a skipped pixel: that of the first labelled pixel on the path to its component's origin."""
    end = pixel
    while labels[np.uint64(end)] == 0:
        end += toward[neighbourhoods[np.uint64(end)]]
    label: int = labels[np.uint64(end)]
    while pixel != end:
        labels[np.uint64(pixel)] = label
        pixel += toward[neighbourhoods[np.uint64(pixel)]]
    return label


@compiled
def begin(root: Labels, state: Records, label: int, pixel: Number, column: Number, level: int) -> None:
    """Start a component of one pixel."""
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
    """Add a pixel to a component."""
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
def join(root: Labels, state: Records, component: int, other: int) -> int:
    """Join two components under the label of the larger one, so that fewer pixels change their label."""
    kept, gone = (other, component) if state[other, AREA] > state[component, AREA] else (component, other)
    root[gone] = kept
    state[kept, X0] = min(state[kept, X0], state[gone, X0])
    state[kept, X1] = max(state[kept, X1], state[gone, X1])
    state[kept, FIRST] = min(state[kept, FIRST], state[gone, FIRST])
    state[kept, LAST] = max(state[kept, LAST], state[gone, LAST])
    state[kept, AREA] += state[gone, AREA]
    # Labels are numbered in the order of visits, so the lower one holds the more extreme pixel.
    state[kept, PEAK] = min(state[kept, PEAK], state[gone, PEAK])
    state[kept, BLOCKS] += state[gone, BLOCKS]
    state[kept, EULER] += state[gone, EULER]
    return kept


@compiled
def record(state: Records, label: int, level: int, records: Records, count: int) -> int:
    """Record the state of a component before its first change at a level, and return the new number of records."""
    if state[label, SINCE] != level:
        for column in range(UNTIL):
            records[count, column] = state[label, column]
        records[count, UNTIL] = level
        state[label, SINCE] = level
        count += 1
    return count


@compiled
def with_last_states(
    root: Labels, state: Records, first: int, last: int, level: int, records: Records, count: int
) -> Records:
    """The records, followed by the final states of the components from the first to the last label."""
    records = with_room(records, count, last)
    for label in range(first, last + 1):
        if root[label] == label:
            count = record(state, label, level, records, count)
    return records[:count].copy()


@compiled
def with_room(records: Records, count: int, more: int) -> Records:
    """The records, copied into a longer array if there is no room for ``more``."""
    # Most maps need a few hundred. Allocating the worst case would dominate the run time.
    if count + more <= len(records):
        return records
    longer = np.empty((count + max(more, count), COLUMNS), np.int32)
    longer[:count] = records[:count]
    return longer


@compiled
def larger(state: Records, one: int, other: int, stride: Number) -> int:
    """The component with more pixels; ties go to the topmost, then the leftmost, then the first in reading order."""
    if state[other, AREA] != state[one, AREA]:
        return other if state[other, AREA] > state[one, AREA] else one
    if state[other, FIRST] // stride != state[one, FIRST] // stride:
        return other if state[other, FIRST] < state[one, FIRST] else one
    if state[other, X0] != state[one, X0]:
        return other if state[other, X0] < state[one, X0] else one
    return other if state[other, FIRST] < state[one, FIRST] else one
