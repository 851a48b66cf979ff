"""The geometry of an image on the network's input, and the inverse mapping of boxes, points and maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.resampling import Matrix, after, average, interpolate, shrunk

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where an image lies on the network's input: ``network = original * scale + offset``.

    ``original`` and ``canvas`` are (width, height) in pixels. Coordinates are continuous and refer to pixel edges:
    pixel column j covers [j, j + 1), so resizing needs no half-pixel correction.

    Raises:
        UserError: a side or scale is not positive, or the image does not lie on the canvas.

    >>> half = Geometry(original=(200, 100), canvas=(100, 100), scale_x=0.5, scale_y=0.5, offset_y=25)
    >>> half.boxes_to_network([[0, 0, 200, 100]]).tolist()
    [[0.0, 25.0, 100.0, 75.0]]
    >>> half.boxes_to_original([[0, 25, 100, 75]]).tolist()
    [[0.0, 0.0, 200.0, 100.0]]
    """

    original: tuple[int, int]
    canvas: tuple[int, int]
    scale_x: float
    scale_y: float
    offset_x: float = 0.0
    offset_y: float = 0.0

    def __post_init__(self) -> None:
        if min(*self.original, *self.canvas) < 1 or not (self.scale_x > 0 and self.scale_y > 0):
            raise UserError(f"{self}: expected sides of 1 or more and positive scales")
        x0, y0, x1, y1 = self.content
        slack = 1e-6 * max(self.canvas)
        if min(x0, y0) < -slack or x1 > self.canvas[0] + slack or y1 > self.canvas[1] + slack:
            raise UserError(f"{self}: the image covers {self.content}, expected a part of the canvas")

    @property
    def content(self) -> tuple[float, float, float, float]:
        """The part of the canvas that the image covers, xyxy."""
        width, height = self.original
        x1, y1 = self.offset_x + width * self.scale_x, self.offset_y + height * self.scale_y
        # The product of a side and its scale differs from a whole pixel by a rounding error that depends on the size.
        return self.offset_x, self.offset_y, round(x1, 9), round(y1, 9)

    def boxes_to_network(self, xyxy: npt.ArrayLike) -> FloatArray:
        """Boxes of the original image in pixels of the network's input.

        Shape:
            (..., 4) to (..., 4) float32.
        """
        return (_last(xyxy, 4, "boxes") * self._scale(2) + self._offset(2)).astype(np.float32)

    def boxes_to_original(self, xyxy: npt.ArrayLike) -> FloatArray:
        """Boxes on the network's input in pixels of the original image, clipped to it.

        Shape:
            (..., 4) to (..., 4) float32.
        """
        boxes = (_last(xyxy, 4, "boxes") - self._offset(2)) / self._scale(2)
        return np.clip(boxes, 0, np.tile(self.original, 2)).astype(np.float32)

    def points_to_original(self, points: npt.ArrayLike) -> FloatArray:
        """Points (x, y) on the network's input in pixels of the original image.

        They are clipped so that their floor is always the index of a pixel.

        Shape:
            (..., 2) to (..., 2) float32.

        >>> half = Geometry(original=(200, 100), canvas=(100, 50), scale_x=0.5, scale_y=0.5)
        >>> half.points_to_original([[50, 25], [100, 50]]).astype(int).tolist()
        [[100, 50], [199, 99]]
        """
        original = (_last(points, 2, "points") - self._offset(1)) / self._scale(1)
        last = np.nextafter(np.asarray(self.original, np.float32), np.float32(0))
        return np.clip(original.astype(np.float32), np.float32(0), last)

    def crop_map(self, map: npt.NDArray[Any], grid: tuple[float, float] | None = None) -> npt.NDArray[Any]:
        """The part of a map of the whole canvas that covers exactly the image.

        ``grid`` holds the positions of the cells: the distance of their centres and the centre of the first, in pixels
        of the canvas; None treats them as equal parts of it. If the cells fill the image exactly, the map itself is
        returned. Otherwise it is resampled bilinearly: at about the cells' own size for a letterboxed image, at half of
        it if the grid differs from equal parts, so that no peak is lost between two cells.

        Shape:
            (..., h, w) to (..., h', w'), of the same floating type.

        Raises:
            UserError: the map has fewer than two axes, is empty, or is not of a floating type.

        >>> half = Geometry(original=(200, 100), canvas=(100, 100), scale_x=0.5, scale_y=0.5, offset_y=25)
        >>> half.crop_map(np.arange(8, dtype=np.float32).reshape(4, 2)).tolist()
        [[2.0, 3.0], [4.0, 5.0]]
        """
        if map.ndim < 2 or map.size == 0 or not np.issubdtype(map.dtype, np.floating):
            raise UserError(f"a map of shape {map.shape} and type {map.dtype}: expected floats, (..., h, w)")
        rows, columns = self._resampling(map.shape[-2:], grid)
        if rows is None and columns is None:
            return map
        # A product of matrices may round equal rows differently, and the peak depends on which are equal in float32.
        cropped = map.astype(np.float64)
        if rows is not None:
            cropped = rows.weights @ cropped
        if columns is not None:
            cropped = cropped @ columns.weights.T
        return cropped.astype(map.dtype)

    def crop_tensor(
        self, maps: torch.Tensor, grid: tuple[float, float] | None = None, cells: int | None = None
    ) -> torch.Tensor:
        """As `crop_map`, for float32 tensors on their device.

        With `cells`, a result with more than that many cells on its longer side is averaged down to it.

        Shape:
            (..., h, w) to (..., h', w').
        """
        rows, columns = self._resampling(maps.shape[-2:], grid)
        if cells is not None:
            height, width = (
                side if matrix is None else len(matrix.weights)
                for side, matrix in zip(maps.shape[-2:], (rows, columns), strict=True)
            )
            fewer = shrunk(height, width, cells)
            if fewer != (height, width):
                rows, columns = _averaged(rows, height, fewer[0]), _averaged(columns, width, fewer[1])
        if rows is not None:
            maps = rows.on(maps.device) @ maps
        return maps if columns is None else maps @ columns.on(maps.device).T

    def crop_pixels(self, images: torch.Tensor) -> torch.Tensor:
        """The part of images of the whole canvas that covers the image, to the nearest pixel.

        Shape:
            (..., H, W) to (..., h, w), a view.
        """
        x0, y0, x1, y1 = (round(edge) for edge in self.content)
        return images[..., y0:y1, x0:x1]

    def _resampling(
        self, shape: Sequence[int], grid: tuple[float, float] | None
    ) -> tuple[Matrix | None, Matrix | None]:
        """The matrices that resample the rows and the columns of a map of this shape; None for the identity."""
        x0, y0, x1, y1 = self.content
        height, width = shape
        rows = _resampling(height, *_cells((y0, y1), self.canvas[1], height, grid))
        columns = _resampling(width, *_cells((x0, x1), self.canvas[0], width, grid))
        return rows, columns

    def _scale(self, times: int) -> npt.NDArray[np.float64]:
        return np.tile([self.scale_x, self.scale_y], times)

    def _offset(self, times: int) -> npt.NDArray[np.float64]:
        return np.tile([self.offset_x, self.offset_y], times)


def _last(values: npt.ArrayLike, size: int, what: str) -> npt.NDArray[np.float64]:
    array = np.asarray(values, np.float64)
    if array.size == 0 and array.ndim <= 1:
        return np.empty((0, size))
    if array.ndim == 0 or array.shape[-1] != size:
        raise UserError(f"{what} of shape {array.shape}: expected (..., {size})")
    return array


def _averaged(matrix: Matrix | None, cells: int, fewer: int) -> Matrix:
    return average(cells, fewer) if matrix is None else after(matrix, average(cells, fewer))


def _cells(
    content: tuple[float, float], canvas: int, cells: int, grid: tuple[float, float] | None
) -> tuple[float, float, int]:
    """The ends of the content in cells, where cell i covers [i, i + 1), and the factor of resolution for resampling."""
    stride, first = grid or (canvas / cells, canvas / cells / 2)
    start, stop = ((edge - first) / stride + 0.5 for edge in content)
    in_place = abs(first - stride / 2) < 1e-3 * stride
    return start, stop, 1 if in_place else 2


def _resampling(cells: int, start: float, stop: float, fineness: int = 1) -> Matrix | None:
    """The matrix that resamples [start, stop) of a row of cells; None if that is the whole row."""
    if abs(start) < 1e-4 and abs(stop - cells) < 1e-4:
        return None
    return interpolate(cells, start, stop, max(1, round(fineness * (stop - start))))
