"""What a pixel changes when it joins the foreground, by which of the eight pixels around it are there already.

A ring is a number of eight bits: north-west, north, north-east, west, east, south-west, south, south-east from the
lowest on. Both tables count over the four 2x2 blocks that the pixel belongs to; by their sums over all pixels of a
part one knows the part's polygon and its holes without looking at it again.

Source: Gray, Local Properties of Binary Images in Two Dimensions, IEEE Transactions on Computers 1971.
"""

from __future__ import annotations

import numpy as np

# The other three pixels of each block as bits of the ring: corner, vertical and horizontal neighbour.
_BLOCKS = ((0, 1, 3), (2, 1, 4), (5, 6, 3), (7, 6, 4))


def _area(corner: int, vertical: int, horizontal: int) -> int:
    """Twice the growth of the polygon between pixel centres: a triangle at the third pixel, another at the fourth."""
    return int(corner + vertical + horizontal >= 2)


def _euler(corner: int, vertical: int, horizontal: int) -> int:
    """The growth of four times the Euler number: blocks of one pixel less those of three, less twice diagonals."""
    before = corner + vertical + horizontal
    diagonal_before, diagonal_after = before == 2 and not corner, before == 1 and bool(corner)
    counts = {1: 1, 3: -1}
    return counts.get(before + 1, 0) - counts.get(before, 0) - 2 * diagonal_after + 2 * diagonal_before


_RINGS = [[[ring >> bit & 1 for bit in block] for block in _BLOCKS] for ring in range(256)]

AREA_OF = np.array([sum(_area(*block) for block in ring) for ring in _RINGS], np.int32)
EULER_OF = np.array([sum(_euler(*block) for block in ring) for ring in _RINGS], np.int32)
