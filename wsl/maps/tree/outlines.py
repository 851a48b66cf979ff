"""The component with the largest outline, by the area enclosed, including holes and their contents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled

Integers = npt.NDArray[np.int64]
Levels = npt.NDArray[Any]


@compiled
def largest_outlines(
    levels: Levels, xyxy: Integers, first: Integers, blocks: Integers, holes: Integers,
    since: Integers, until: Integers, count: int,
) -> Integers:  # fmt: skip
    """The component whose outline encloses the largest area at each threshold; -1 if there is none.

    An outline runs through the centres of a component's outermost pixels, as in OpenCV's ``contourArea``. Ties go to
    the component whose first pixel is last in reading order. (A component inside another one's hole is never the
    largest, so this is the first of the largest contours in the order of ``findContours``, which lists them from the
    last to the first.)

    Shape:
        ``levels`` is (h, w). The others have an entry or row for each component: its half-open box in pixels, its first
        pixel ``y * w + x``, twice the area of its 2x2 blocks, its number of holes, and the thresholds
        ``until <= i < since`` at which it is present. The result is (``count``,).
    """
    best = np.full(count, -1, np.int64)
    # A lower bound of the largest enclosed area: a component's blocks, without its holes.
    least = np.zeros(count, np.int64)
    for component in range(len(blocks)):
        for i in range(until[component], since[component]):
            least[i] = max(least[i], blocks[component])
    area, start = np.full(count, -1, np.int64), np.empty(count, np.int64)
    for component in range(len(blocks)):
        most = 2 * (xyxy[component, 2] - xyxy[component, 0] - 1) * (xyxy[component, 3] - xyxy[component, 1] - 1)
        hopeful = False
        for i in range(until[component], since[component]):
            hopeful |= most >= least[i]
        if not hopeful:
            continue
        enclosed = (
            blocks[component] if holes[component] == 0 else outline_area(levels, first[component], since[component])
        )
        for i in range(until[component], since[component]):
            if enclosed > area[i] or (enclosed == area[i] and first[component] > start[i]):
                best[i], area[i], start[i] = component, enclosed, first[component]
            least[i] = max(least[i], enclosed)
    return best


@compiled
def outline_area(levels: Levels, first: int, level: int) -> int:
    """Twice the area inside the outline of the component, at this level or higher, whose first pixel is given.

    Shape:
        ``levels`` is (h, w); the first pixel in reading order is given as ``y * w + x``.
    """
    height, width = levels.shape
    steps_x, steps_y = (1, 1, 0, -1, -1, -1, 0, 1), (0, 1, 1, 1, 0, -1, -1, -1)
    y, x = first // width, first % width
    start_x, start_y, start_step, area, step = x, y, -1, 0, 0
    while True:
        # Clockwise, starting after the previous pixel, which is tried last.
        for turn in range(5, 13):
            ahead = (step + turn) & 7
            next_x, next_y = x + steps_x[ahead], y + steps_y[ahead]
            if 0 <= next_x < width and 0 <= next_y < height and levels[next_y, next_x] >= level:
                break
        else:
            return 0
        if x == start_x and y == start_y:
            if start_step == ahead:
                return area
            if start_step < 0:
                start_step = ahead
        area += x * next_y - next_x * y
        x, y, step = next_x, next_y, ahead
