"""The maps of a whole image, put together from those of its tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.errors import BadImageError
from wsl.images.raster import Window
from wsl.resampling import interpolate


class Mosaic:
    """A map of a whole image for each class, of the tiles' resolution: about as many cells per pixel as a tile has.

    Where tiles overlap, a cell is the weighted mean of theirs, and the weight falls linearly towards the edges of a
    tile. At its edges a network sees half of the surroundings, and padding instead of the rest; there the neighbour
    counts, so that maps have no steps along the edges. The maximum would be larger in the overlaps than elsewhere
    wherever maps are noise.

    All maps together may have `most` cells of 4 bytes, which bounds their memory; the error starts with `name`.

    >>> mosaic = Mosaic((12, 8), [Window(0, 0, 8, 8), Window(4, 0, 8, 8)], most=100)
    >>> mosaic.add(Window(0, 0, 8, 8), {"dog": np.full((4, 4), 1.0)})
    >>> mosaic.missing()
    [(Window(x=4, y=0, width=8, height=8), ('dog',))]
    >>> mosaic.add(Window(4, 0, 8, 8), {"dog": np.full((4, 4), 3.0)})
    >>> mosaic.maps["dog"][0].tolist()
    [1.0, 1.0, 1.600000023841858, 2.4000000953674316, 3.0, 3.0]
    """

    def __init__(self, size: tuple[int, int], windows: Sequence[Window], most: int, name: str = "image") -> None:
        self.maps: dict[str, FloatArray] = {}
        self._size, self._windows, self._most, self._name = size, windows, most, name
        self._added: dict[Window, set[str]] = {window: set() for window in windows}
        self._axes: tuple[_Axis, _Axis] | None = None

    def add(self, window: Window, maps: Mapping[str, FloatArray]) -> None:
        """Add the maps of a tile, all of one shape.

        Raises:
            BadImageError: there would be more than `most` cells.
        """
        for label, one in maps.items():
            columns, rows = self._axes = self._axes or self._divided(one.shape)
            canvas = self._canvas(label, (rows.cells, columns.cells))
            across, down = columns.parts[window.x], rows.parts[window.y]
            canvas[down.place, across.place] += down.weights @ one @ across.weights.T
        self._added[window].update(maps)

    def missing(self) -> list[tuple[Window, tuple[str, ...]]]:
        """The windows whose tile lacks the map of a class that another tile has, with these classes."""
        lacking = ((window, tuple(self.maps.keys() - added)) for window, added in self._added.items())
        return [(window, tuple(sorted(labels))) for window, labels in lacking if labels]

    def _divided(self, shape: tuple[int, ...]) -> tuple[_Axis, _Axis]:
        (width, height), first = self._size, self._windows[0]
        columns, rows = sorted({one.x for one in self._windows}), sorted({one.y for one in self._windows})
        return _Axis(width, first.width, columns, shape[1]), _Axis(height, first.height, rows, shape[0])

    def _canvas(self, label: str, shape: tuple[int, int]) -> FloatArray:
        if label not in self.maps:
            cells = (len(self.maps) + 1) * shape[0] * shape[1]
            if cells > self._most:
                raise BadImageError(
                    f"{self._name}: the maps of {len(self.maps) + 1} classes have {cells:,} cells, expected at most "
                    f"{self._most:,}: take larger tiles or fewer classes (--classes, --score-threshold), or allow more "
                    "with --max-pixels"
                )
            self.maps[label] = np.zeros(shape, np.float32)
        return self.maps[label]


class _Share(NamedTuple):
    """The cells of the whole that a tile covers along an axis, and what each takes of the tile's cells."""

    place: slice
    weights: npt.NDArray[np.float64]


class _Axis:
    """One axis of an image of `side` pixels; its tiles begin at `starts` and have `cells` cells in `tile` pixels."""

    def __init__(self, side: int, tile: int, starts: Sequence[int], cells: int) -> None:
        self.cells = -(-side * cells // tile)  # rounded up, so that each tile covers a cell's centre
        pitch = side / self.cells
        centres = (np.arange(self.cells) + 0.5) * pitch
        ramps = {start: _ramp(centres - start, tile) for start in starts}
        total = np.sum(list(ramps.values()), axis=0)
        self.parts = {}
        for start, ramp in ramps.items():
            inside = np.flatnonzero(ramp)
            first, last = int(inside[0]), int(inside[-1]) + 1
            edges = ((edge * pitch - start) * cells / tile for edge in (first, last))
            samples = interpolate(cells, *edges, last - first).weights
            self.parts[start] = _Share(slice(first, last), samples * (ramp / total)[inside, None])


def _ramp(distance: npt.NDArray[np.floating[Any]], tile: int) -> npt.NDArray[np.float64]:
    """The weights of cells at a distance from the start of a tile, 0 outside it.

    >>> _ramp(np.array([-1.0, 0, 3, 8]), 8).tolist()
    [0.0, 0.5, 3.5, 0.0]
    """
    inside = (distance >= 0) & (distance < tile)
    return np.where(inside, 0.5 + np.minimum(distance, tile - distance), 0.0)
