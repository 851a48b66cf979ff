"""The records of the compiled loops, as arrays in a map's own cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.maps.tree.components import AREA, BLOCKS, EULER, FIRST, LAST, PEAK, SINCE, UNTIL, X0, X1, Records

Integers = npt.NDArray[np.int64]

BOX = [X0, FIRST, X1, LAST]


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Connected components of a map with the levels at which each is present, one per row of ``records``.

    Columns are computed when they are read. ``stride`` is the row length of the grid in which the records number
    pixels, and ``width`` is the width of the map.

    >>> record = np.array([[2, 3, 6, 7, 2, 7, 0, 4, 1, 0]], np.int32)  # two cells beside each other
    >>> Components(record, stride=4, width=2).xyxy.tolist()
    [[1, 0, 3, 1]]
    """

    records: Records
    stride: int
    width: int

    def __len__(self) -> int:
        return len(self.records)

    def at(self, level: int) -> Components:
        """Those that are present at a level."""
        rows = self.records
        return Components(rows[(rows[:, UNTIL] <= level) & (level < rows[:, SINCE])], self.stride, self.width)

    def of_area(self, least: float) -> Components:
        """Those of at least so many cells."""
        return Components(self.records[self.records[:, AREA] >= least], self.stride, self.width)

    @property
    def xyxy(self) -> Integers:
        """Half-open boxes in cells, (n, 4)."""
        xyxy = self.records[:, BOX].astype(np.int64)
        xyxy[:, 1::2] //= self.stride
        # Without the border of one cell; the far edges are half-open.
        return np.asarray(xyxy - np.array([1, 1, 0, 0]))

    @property
    def areas(self) -> Integers:
        """Numbers of cells, (n,)."""
        return self.records[:, AREA].astype(np.int64)

    @property
    def peaks(self) -> Integers:
        """Row-major index of the most extreme cell of each, (n,); ties go to the first."""
        return self._cells(PEAK)

    @property
    def firsts(self) -> Integers:
        """Row-major index of the first cell of each in reading order, (n,)."""
        return self._cells(FIRST)

    @property
    def blocks(self) -> Integers:
        """Twice the area of the polygons between the cell centres of each, (n,)."""
        return self.records[:, BLOCKS].astype(np.int64)

    @property
    def holes(self) -> Integers:
        """The number of holes in each, (n,)."""
        return 1 - self.records[:, EULER].astype(np.int64) // 4

    @property
    def since(self) -> Integers:
        """The level at which each entered this state, (n,)."""
        return self.records[:, SINCE].astype(np.int64)

    @property
    def until(self) -> Integers:
        """The level at which each left this state, (n,)."""
        return self.records[:, UNTIL].astype(np.int64)

    def _cells(self, column: int) -> Integers:
        pixels = self.records[:, column].astype(np.int64)
        return (pixels // self.stride - 1) * self.width + pixels % self.stride - 1


def stride_of(heat: npt.NDArray[Any]) -> int:
    """The row length of the grid in which the compiled loops number pixels: a power of two.

    Raises:
        UserError: the map has too many cells to number.

    >>> stride_of(np.zeros((1, 224))), stride_of(np.zeros((1, 256)))
    (256, 512)
    """
    height, width = heat.shape
    stride = 1 << int(width).bit_length()
    if (height + 2) * stride >= 2**31:
        raise UserError(f"a map has {width}x{height} cells, expected at most 2 billion with its border: resize it")
    return stride
