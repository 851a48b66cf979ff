"""What the compiled loops write down, as arrays in a map's own cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

Integers = npt.NDArray[np.int64]


class Parts(NamedTuple):
    """Connected parts of a map, each at the thresholds at which it stands.

    ``xyxy`` are half-open boxes in cells, (n, 4); ``areas`` numbers of cells; ``peaks`` and ``firsts`` the most
    extreme cell and the first in reading order, as row-major indices; ``blocks`` and ``holes`` what `outlines` needs;
    ``since`` and ``until`` the levels between which the part stood (see `parts`).
    """

    xyxy: Integers
    areas: Integers
    firsts: Integers
    peaks: Integers
    blocks: Integers
    holes: Integers
    since: Integers
    until: Integers

    @classmethod
    def of(cls, records: npt.NDArray[np.int32], stride: int, width: int) -> Parts:
        """The parts that records of `islands` and `lakes` stand for.

        >>> record = np.array([[2, 3, 6, 7, 2, 7, 0, 4, 1, 0]], np.int32)  # two cells beside each other
        >>> Parts.of(record, stride=4, width=2).xyxy.tolist()
        [[1, 0, 3, 1]]
        """
        x0, x1, first, last, areas, peaks, blocks, euler, since, until = records.T.astype(np.int64)
        # The border of one cell on each side comes off; the far edges are half-open.
        xyxy = np.stack([x0 - 1, first // stride - 1, x1, last // stride], axis=1)
        firsts, peaks = ((p // stride - 1) * width + p % stride - 1 for p in (first, peaks))
        return cls(xyxy, areas, firsts, peaks, blocks, 1 - euler // 4, since, until)


def stride_of(surface: npt.NDArray[Any]) -> int:
    """How far apart the rows of a map lie in the grid that the compiled loops number: a power of two.

    Raises:
        UserError: the map has too many cells to number.

    >>> stride_of(np.zeros((1, 224))), stride_of(np.zeros((1, 256)))
    (256, 512)
    """
    height, width = surface.shape
    stride = 1 << int(width).bit_length()
    if (height + 2) * stride >= 2**31:
        raise UserError(f"a map has {width}x{height} cells, expected at most 2 billion with its border: resize it")
    return stride
