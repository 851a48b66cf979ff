"""Neighbours of a pixel that join the foreground before it, and what they imply for components and holes.

A neighbourhood is a number of eight bits, one for each neighbour, set if it joins before the pixel: north-west, north,
north-east, west, east, south-west, south, south-east, starting at the lowest bit. Pixels join the foreground from the
highest level to the lowest, and in reading order within a level; they join holes in the opposite order. The number
therefore tells whether a pixel starts a component or a hole, extends one, or joins several. In a smooth map nearly
every pixel extends one component and one hole, and few can widen their boxes.

Source: Gray, Local Properties of Binary Images in Two Dimensions, IEEE Transactions on Computers 1971 (areas and
holes from blocks of 2x2 pixels).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled

Neighbourhoods = npt.NDArray[np.uint8]
Place = tuple[int, int]

PLACES: tuple[Place, ...] = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
BEGINS, GROWS, MEETS = range(3)
WEST, EAST, NORTH, SOUTH, SIDES = 0b00101001, 0b10010100, 0b00000111, 0b11100000, 0b01011010


@compiled
def neighbourhoods_of(heat: npt.NDArray[Any], stride: int) -> Neighbourhoods:
    """The neighbourhood of every pixel; pixels outside the map never join the foreground.

    Shape:
        ``heat`` is (h, w); the result is indexed by the pixel numbers of `ordering`.
    """
    height, width = heat.shape
    padded = np.zeros((height + 2, width + 2), heat.dtype)
    padded[1:-1, 1:-1] = heat
    neighbourhoods = np.zeros((height + 2) * stride, np.uint8)
    for y in range(height):
        above, here, below = padded[y], padded[y + 1], padded[y + 2]
        row = neighbourhoods[(y + 1) * stride + 1 : (y + 1) * stride + 1 + width]
        for x in range(width):
            value = here[x + 1]
            # Ties go to the first in reading order.
            neighbours = np.uint8(above[x] >= value) | np.uint8(above[x + 1] >= value) << 1
            neighbours |= np.uint8(above[x + 2] >= value) << 2 | np.uint8(here[x] >= value) << 3
            neighbours |= np.uint8(here[x + 2] > value) << 4 | np.uint8(below[x] > value) << 5
            neighbours |= np.uint8(below[x + 1] > value) << 6 | np.uint8(below[x + 2] > value) << 7
            row[x] = neighbours
        row[0] &= np.uint8(255 - WEST)
        row[-1] &= np.uint8(255 - EAST)
    neighbourhoods[stride + 1 : stride + 1 + width] &= np.uint8(255 - NORTH)
    neighbourhoods[height * stride + 1 : height * stride + 1 + width] &= np.uint8(255 - SOUTH)
    return neighbourhoods


@compiled
def outer_neighbourhoods_of(levels: Neighbourhoods, stride: int) -> Neighbourhoods:
    """The outer neighbourhood of every pixel: which pixels two steps away join before it.

    It is a number of four bits: north, west, east, south, starting at the lowest bit. It is meaningless for a pixel of
    level 0, which never joins.

    Shape:
        ``levels`` is (h, w); the result is indexed by the pixel numbers of `ordering`.
    """
    height, width = levels.shape
    padded = np.zeros((height + 4, width + 4), levels.dtype)
    padded[2:-2, 2:-2] = levels
    outer = np.zeros((height + 2) * stride, np.uint8)
    for y in range(height):
        above, here, below = padded[y], padded[y + 2], padded[y + 4]
        row = outer[(y + 1) * stride + 1 : (y + 1) * stride + 1 + width]
        for x in range(width):
            value = here[x + 2]
            bits = np.uint8(above[x + 2] >= value) | np.uint8(here[x] >= value) << 1
            row[x] = bits | np.uint8(here[x + 4] > value) << 2 | np.uint8(below[x + 2] > value) << 3
    return outer


def _groups(places: list[Place], touch: Callable[[int, int], bool]) -> list[list[Place]]:
    """The connected groups of neighbour positions."""
    groups: list[list[Place]] = []
    for place in places:
        near = [g for g in groups if any(touch(abs(place[0] - y), abs(place[1] - x)) for y, x in g)]
        groups = [g for g in groups if g not in near] + [[place, *(other for g in near for other in g)]]
    return groups


def _of_component(neighbours: int) -> tuple[int, Place]:
    """Whether a component starts, grows or meets others at a pixel, and a neighbour that belongs to it."""
    present = [place for bit, place in enumerate(PLACES) if neighbours >> bit & 1]
    groups = _groups(present, lambda y, x: max(y, x) == 1)
    return min(len(groups), MEETS), _middle(present)


def _of_hole(neighbours: int) -> tuple[int, Place]:
    """The same for a hole, which consists of the other pixels and is 4-connected."""
    absent = [place for bit, place in enumerate(PLACES) if not neighbours >> bit & 1]
    groups = [[place for place in group if 0 in place] for group in _groups(absent, lambda y, x: y + x == 1)]
    sides = [group for group in groups if group]
    return min(len(sides), MEETS), _middle([place for group in sides for place in group])


def _middle(places: list[Place]) -> Place:
    """The position nearest to the mean direction, where the slope is steepest: the shortest path to the origin."""
    y, x = (sum(place[axis] for place in places) for axis in (0, 1))
    return max(places, key=lambda place: (place[0] * y + place[1] * x) / math.hypot(*place), default=(0, 0))


def _shapes_component(neighbours: int, outer: int) -> bool:
    """Whether a pixel may start a component, join others or widen its component's box.

    It widens the box to the west if the whole component lies east of it: no other neighbour belongs to the component,
    nor any pixel two steps north or south that touches one of the neighbours.
    """
    if _COMPONENTS[neighbours][0] != GROWS:
        return True
    north, west, east, south = (outer >> bit & 1 for bit in range(4))
    nw, ne, sw, se = (neighbours >> bit & 1 for bit in (0, 2, 5, 7))
    joined = {
        EAST: (ne and north) or (se and south),
        WEST: (nw and north) or (sw and south),
        SOUTH: (sw and west) or (se and east),
        NORTH: (nw and west) or (ne and east),
    }
    return any(not neighbours & ~side and not elsewhere for side, elsewhere in joined.items())


def _shapes_hole(neighbours: int) -> bool:
    """Whether a pixel may start a hole, join others or widen a box, which it does if one side alone is the hole's."""
    return _HOLES[neighbours][0] != GROWS or (~neighbours & SIDES).bit_count() == 1


def _block(neighbours: int, corner: int, vertical: int, horizontal: int) -> tuple[int, int]:
    """A pixel's contribution in a 2x2 block to twice the area between pixel centres and four times the Euler number.

    The third and the fourth pixel of a block each add a triangle. Four times the Euler number is the number of blocks
    with one pixel, minus the number with three, minus twice the number with two diagonal pixels.
    """
    others = [neighbours >> bit & 1 for bit in (corner, vertical, horizontal)]
    before, diagonal = sum(others), others[0]
    euler = {0: 1, 1: -3 if diagonal else -1, 2: -1 if diagonal else 1, 3: 1}
    return int(before >= 2), euler[before]


_COMPONENTS, _HOLES = ([rule(neighbours) for neighbours in range(256)] for rule in (_of_component, _of_hole))
_BLOCKS = np.array(
    [
        [_block(neighbours, *block) for block in ((0, 1, 3), (2, 1, 4), (5, 6, 3), (7, 6, 4))]
        for neighbours in range(256)
    ]
).sum(axis=1)

COMPONENT_EVENT, HOLE_EVENT = (np.array([event for event, _ in rules], np.uint8) for rules in (_COMPONENTS, _HOLES))
# Row and column of a neighbour relative to the pixel.
COMPONENT_AT, HOLE_AT = (np.array([place for _, place in rules], np.int64) for rules in (_COMPONENTS, _HOLES))
SHAPES_COMPONENT = np.array(
    [[_shapes_component(neighbours, outer) for outer in range(16)] for neighbours in range(256)]
)
SHAPES_HOLE = np.array([_shapes_hole(neighbours) for neighbours in range(256)])
AREA_OF, EULER_OF = (np.ascontiguousarray(_BLOCKS[:, i], np.int32) for i in (0, 1))
