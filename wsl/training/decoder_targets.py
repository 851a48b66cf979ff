"""Targets of a map decoder: maps of the labelled classes of each image, sampled at the positions of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl.images.geometry import Geometry
from wsl.inference.views import View, views
from wsl.maps import normalise
from wsl.models.decoder import sampling
from wsl.models.grid import Grid

FloatArray = npt.NDArray[np.float32]
# The middle is the box threshold, half of a map's range; values a tenth above or below it become close to 1 or 0.
_MIDDLE, _SOFTNESS = 0.5, 0.08


def training_views(flip: bool) -> Sequence[View]:
    """The views of an image that a decoder or detector learns from: itself and, with `flip`, mirrored.

    >>> [view.mirrored for view in training_views(True)], len(training_views(False))
    ([False, True], 1)
    """
    return views(["flip"] if flip else [])


class Cells(NamedTuple):
    """The cells of a decoder's maps: their number (height, width), their positions, and the side of the input."""

    shape: tuple[int, int]
    grid: Grid | None
    side: int


class Targets:
    """Target maps of all (image, class) pairs, for each view of the images.

    The maps of each image are set by `add`, in any order; images without maps are left out of the training.

    Shape:
        ``classes`` (P,) holds the class indices of the pairs, those of image i at ``first[i]`` to ``first[i + 1]``;
        ``maps`` (V, P, h, w) is float16 in [0, 1]. ``content`` (V, N, h, w) bool is True for cells in the image and
        False for cells in the padding; None without padding.
    """

    def __init__(self, labels: Sequence[Sequence[int]], cells: Cells, *, padded: bool, flip: bool = True) -> None:
        self.cells = cells
        self._views = training_views(flip)
        self.first = np.concatenate([[0], np.cumsum([len(some) for some in labels])]).astype(np.int64)
        self.classes = np.array([number for some in labels for number in some], np.int64)
        self.maps = np.zeros((len(self._views), len(self.classes), *cells.shape), np.float16)
        self.content = np.zeros((len(self._views), len(labels), *cells.shape), bool) if padded else None
        self.known = np.zeros(len(labels), bool)

    def add(self, image: int, maps: Sequence[FloatArray], geometry: Geometry) -> None:
        """Set the maps of an image, in the order of its classes; each covers exactly the image."""
        self.known[image] = True
        rows = slice(self.first[image], self.first[image + 1])
        for number, view in enumerate(self._views):
            place = view.geometry(geometry)
            if self.content is not None:
                self.content[number, image] = _inside(self.cells, place)
            for row, one in zip(range(rows.start, rows.stop), maps, strict=True):
                shown = np.ascontiguousarray(one[:, ::-1]) if view.mirrored else one
                self.maps[number, row] = squash(_sampled(normalise(shown), self.cells, place))

    def batch(self, images: npt.NDArray[np.int64], view: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Targets and weights of a batch of images.

        Shape:
            (N, K, h, w), 0 for the classes that an image is not labelled with, and (N, 1, h, w), 1 for cells in the
            image.
        """
        targets = np.zeros((len(images), num_classes, *self.cells.shape), np.float32)
        for place, image in enumerate(images):
            rows = slice(self.first[image], self.first[image + 1])
            targets[place, self.classes[rows]] = self.maps[view, rows]
        weights = np.ones((len(images), 1, *self.cells.shape), np.float32)
        if self.content is not None:
            weights[:, 0] = self.content[view, images]
        return torch.from_numpy(targets), torch.from_numpy(weights)


def squash(values: FloatArray) -> FloatArray:
    """Values in [0, 1] pushed towards 0 and 1, away from the box threshold.

    >>> [round(float(value), 3) for value in squash(np.float32([0, 0.5, 1]))]
    [0.002, 0.5, 0.998]
    """
    squashed: FloatArray = 1 / (1 + np.exp((_MIDDLE - values) / _SOFTNESS))
    return squashed


def _sampled(map: FloatArray, cells: Cells, place: Geometry) -> FloatArray:
    """A map of the image, sampled bilinearly at the positions of the decoder's cells."""
    x0, y0, x1, y1 = place.content
    rows, columns = (
        sampling(old, new, cells.side, Grid((stop - start) / old, start + (stop - start) / old / 2), cells.grid)
        for old, new, start, stop in zip(map.shape, cells.shape, (y0, x0), (y1, x1), strict=True)
    )
    sampled: FloatArray = (rows.weights @ map @ columns.weights.T).astype(np.float32)
    return sampled


def _inside(cells: Cells, place: Geometry) -> npt.NDArray[np.bool_]:
    """Which cells (h, w) lie in the image."""
    x0, y0, x1, y1 = place.content
    down, across = (_centres(count, cells) for count in cells.shape)
    return ((down >= y0) & (down <= y1))[:, None] & ((across >= x0) & (across <= x1))


def _centres(count: int, cells: Cells) -> npt.NDArray[np.float64]:
    stride, start = cells.grid or (cells.side / count, cells.side / count / 2)
    return start + stride * np.arange(count, dtype=np.float64)
