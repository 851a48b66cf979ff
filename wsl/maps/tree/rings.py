"""What a pixel does to the parts around it, by which of the eight pixels around it join the foreground before it.

A ring is a number of eight bits: north-west, north, north-east, west, east, south-west, south, south-east from the
lowest on. Pixels join from the highest level to the lowest, those of one level in reading order; holes lose them the
other way round. So one number a pixel tells what happens to both: whether a part begins, grows or meets others, and
whether a hole does. In a smooth map nearly every pixel grows one part and one hole, and few can widen their boxes.

Source: Gray, Local Properties of Binary Images in Two Dimensions, IEEE Transactions on Computers 1971 (areas and
holes from blocks of 2x2 pixels).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.maps.compiled import compiled

Rings = npt.NDArray[np.uint8]
Place = tuple[int, int]

PLACES: tuple[Place, ...] = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
BEGINS, GROWS, MEETS = range(3)
WEST, EAST, NORTH, SOUTH, SIDES = 0b00101001, 0b10010100, 0b00000111, 0b11100000, 0b01011010


@compiled
def rings_of(surface: npt.NDArray[Any], stride: int) -> Rings:
    """The ring of every pixel; what lies beyond the map never joins the foreground.

    Shape:
        ``surface`` is (h, w); the result lists the pixels as `ordering` numbers them.
    """
    height, width = surface.shape
    padded = np.zeros((height + 2, width + 2), surface.dtype)
    padded[1:-1, 1:-1] = surface
    rings = np.zeros((height + 2) * stride, np.uint8)
    for y in range(height):
        above, here, below = padded[y], padded[y + 1], padded[y + 2]
        row = rings[(y + 1) * stride + 1 : (y + 1) * stride + 1 + width]
        for x in range(width):
            value = here[x + 1]
            # Of equals, those before it in reading order come first.
            ring = np.uint8(above[x] >= value) | np.uint8(above[x + 1] >= value) << 1
            ring |= np.uint8(above[x + 2] >= value) << 2 | np.uint8(here[x] >= value) << 3
            ring |= np.uint8(here[x + 2] > value) << 4 | np.uint8(below[x] > value) << 5
            ring |= np.uint8(below[x + 1] > value) << 6 | np.uint8(below[x + 2] > value) << 7
            row[x] = ring
        row[0] &= np.uint8(255 - WEST)
        row[-1] &= np.uint8(255 - EAST)
    rings[stride + 1 : stride + 1 + width] &= np.uint8(255 - NORTH)
    rings[height * stride + 1 : height * stride + 1 + width] &= np.uint8(255 - SOUTH)
    return rings


@compiled
def beyond_of(levels: Rings, stride: int) -> Rings:
    """Which pixels two steps away join before a pixel: north, west, east, south from the lowest bit on.

    Shape:
        ``levels`` is (h, w); the result lists the pixels as `ordering` numbers them. Pixels of level 0 count as
        nobody's.
    """
    height, width = levels.shape
    padded = np.zeros((height + 4, width + 4), levels.dtype)
    padded[2:-2, 2:-2] = levels
    beyond = np.zeros((height + 2) * stride, np.uint8)
    for y in range(height):
        above, here, below = padded[y], padded[y + 2], padded[y + 4]
        row = beyond[(y + 1) * stride + 1 : (y + 1) * stride + 1 + width]
        for x in range(width):
            value = here[x + 2]
            bits = np.uint8(above[x + 2] >= value) | np.uint8(here[x] >= value) << 1
            row[x] = bits | np.uint8(here[x + 4] > value) << 2 | np.uint8(below[x + 2] > value) << 3
    return beyond


def _groups(places: list[Place], touch: Callable[[int, int], bool]) -> list[list[Place]]:
    """Places that hang together."""
    groups: list[list[Place]] = []
    for place in places:
        near = [g for g in groups if any(touch(abs(place[0] - y), abs(place[1] - x)) for y, x in g)]
        groups = [g for g in groups if g not in near] + [[place, *(other for g in near for other in g)]]
    return groups


def _of_part(ring: int) -> tuple[int, Place]:
    """Whether a part begins, grows or meets others at a pixel, and a neighbour that belongs to it."""
    there = [place for bit, place in enumerate(PLACES) if ring >> bit & 1]
    groups = _groups(there, lambda y, x: max(y, x) == 1)
    return min(len(groups), MEETS), _middle(there)


def _of_hole(ring: int) -> tuple[int, Place]:
    """The same for a hole, whose pixels are those that are not there; it spreads to the four sides only."""
    absent = [place for bit, place in enumerate(PLACES) if not ring >> bit & 1]
    groups = [[place for place in group if 0 in place] for group in _groups(absent, lambda y, x: y + x == 1)]
    sides = [group for group in groups if group]
    return min(len(sides), MEETS), _middle([place for group in sides for place in group])


def _middle(places: list[Place]) -> Place:
    """The place that lies most in the direction of all, where a slope is steepest: it leads to an origin soonest."""
    y, x = np.sum(places, axis=0) if places else (0, 0)
    return max(places, key=lambda place: (place[0] * y + place[1] * x) / np.hypot(*place), default=(0, 0))


def _shapes_part(ring: int, beyond: int) -> bool:
    """Whether a pixel may begin a part, join others or widen its part's box.

    It widens the box to the west when all of the part lies east of it: nothing of it in the ring elsewhere, and nothing
    two steps north or south where a pixel of the ring touches that.
    """
    if _of_part(ring)[0] != GROWS:
        return True
    north, west, east, south = (beyond >> bit & 1 for bit in range(4))
    nw, ne, sw, se = (ring >> bit & 1 for bit in (0, 2, 5, 7))
    joined = {
        EAST: (ne and north) or (se and south),
        WEST: (nw and north) or (sw and south),
        SOUTH: (sw and west) or (se and east),
        NORTH: (nw and west) or (ne and east),
    }
    return any(not ring & ~side and not elsewhere for side, elsewhere in joined.items())


def _shapes_hole(ring: int) -> bool:
    """The same for a hole: of its four sides, one only is the hole's."""
    return _of_hole(ring)[0] != GROWS or (~ring & SIDES).bit_count() == 1


def _block(ring: int, corner: int, vertical: int, horizontal: int) -> tuple[int, int]:
    """What a 2x2 block adds to twice the polygon between pixel centres, and to four times the Euler number.

    A triangle comes with the third pixel and another one with the fourth. The Euler number counts blocks of one pixel,
    less those of three, less twice those of two across.
    """
    others = [ring >> bit & 1 for bit in (corner, vertical, horizontal)]
    before, across = sum(others), others[0]
    lone = {0: 1, 1: -3 if across else -1, 2: -1 if across else 1, 3: 1}
    return int(before >= 2), lone[before]


_PARTS, _HOLES = ([rule(ring) for ring in range(256)] for rule in (_of_part, _of_hole))
_BLOCKS = [
    np.sum([_block(ring, *block) for block in ((0, 1, 3), (2, 1, 4), (5, 6, 3), (7, 6, 4))], axis=0)
    for ring in range(256)
]

PART_EVENT, HOLE_EVENT = (np.array([event for event, _ in rules], np.uint8) for rules in (_PARTS, _HOLES))
# A neighbour's row and column, relative to the pixel.
PART_AT, HOLE_AT = (np.array([place for _, place in rules], np.int64) for rules in (_PARTS, _HOLES))
SHAPES_PART = np.array([[_shapes_part(ring, beyond) for beyond in range(16)] for ring in range(256)])
SHAPES_HOLE = np.array([_shapes_hole(ring) for ring in range(256)])
AREA_OF, EULER_OF = (np.array([block[i] for block in _BLOCKS], np.int32) for i in (0, 1))
