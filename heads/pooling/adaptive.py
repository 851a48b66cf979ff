"""Adaptive pooling: a grid of averages or maxima of a given size."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool2d

from heads._checks import accumulation_dtype, check_choice, check_maps, check_positive_int
from heads.pooling._pooling import Pooling

Mode: TypeAlias = Literal["average", "max"]
Side: TypeAlias = int | None


def adaptive(maps: Tensor, size: Side | tuple[Side, Side] = 1, *, mode: Mode = "average") -> Tensor:
    """The averages or maxima of each map over a grid of ``size`` (h, w), or h = w.

    None keeps the map's own height or width. Window i of h covers the rows floor(i * H / h) to ceil((i + 1) * H / h),
    as in torch; windows overlap if h does not divide H.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w): a grid, not a score.

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; a size below 1; another mode.

    Source: torch.nn.AdaptiveAvgPool2d and AdaptiveMaxPool2d; He et al., Spatial pyramid pooling, ECCV 2014, level bins.

    >>> adaptive(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), (1, None))
    tensor([[[2., 4.]]])
    """
    check_maps(maps)
    check_choice(mode, "mode", ("average", "max"))
    sides = _sides_of(maps, _check_size(size))
    if mode == "max":
        return adaptive_max_pool2d(maps, sides)
    return adaptive_avg_pool2d(maps.to(accumulation_dtype(maps)), sides).to(maps.dtype)


def _check_size(size: object) -> Side | tuple[Side, Side]:
    if isinstance(size, (tuple, list)):
        if len(size) != 2:
            raise ValueError(f"size is {tuple(size)!r}, expected (height, width) or one number: try size=(2, 2)")
        height, width = (None if side is None else check_positive_int(side, "size") for side in size)
        return height, width
    return None if size is None else check_positive_int(size, "size")


def _sides(size: Side | tuple[Side, Side]) -> tuple[Side, Side]:
    return size if isinstance(size, tuple) else (size, size)


def _sides_of(maps: Tensor, size: Side | tuple[Side, Side]) -> tuple[int, int]:
    height, width = _sides(size)
    return maps.shape[-2] if height is None else height, maps.shape[-1] if width is None else width


class Adaptive(Pooling):
    """Adaptive pooling: each map as a grid of averages or maxima of the given size; None keeps that side.

    A grid is not a score. `heads.MapClassifier` learns for each class to combine the values of its grid, starting at
    their mean, and therefore does not accept None, with which their number would depend on the image.

    >>> Adaptive(size=(2, None), mode="max")
    adaptive(size=(2, None), mode=max)
    """

    def __init__(self, size: Side | tuple[Side, Side] = 1, *, mode: Mode = "average") -> None:
        super().__init__()
        check_choice(mode, "mode", ("average", "max"))
        self.size = _check_size(size)
        self.mode: Mode = mode

    @property
    def values_per_map(self) -> int | None:
        """The number of cells of the grid; None if a side depends on the map."""
        height, width = _sides(self.size)
        return None if height is None or width is None else height * width

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to grids: see `adaptive`."""
        return adaptive(maps, self.size, mode=self.mode)

    def values(self, maps: Tensor) -> Tensor:
        """The cells of each grid side by side, (..., C, H, W) -> (..., C, h * w)."""
        grid: Tensor = self(maps)
        return grid.flatten(-2)

    def weights(self, maps: Tensor) -> Tensor:
        """The gradient of the grid's mean with respect to the map: the total weight of each location in all cells."""
        check_maps(maps)
        height, width = _sides_of(maps, self.size)
        if self.mode == "average":
            rows, columns = _shares(maps.shape[-2], height, maps), _shares(maps.shape[-1], width, maps)
            return (rows[:, None] * columns).to(maps.dtype).expand_as(maps)
        _, index = adaptive_max_pool2d(maps.detach(), (height, width), return_indices=True)
        index = index.flatten(-2)
        share = torch.full_like(index, 1 / (height * width), dtype=maps.dtype)
        return torch.zeros_like(maps).flatten(-2).scatter_add(-1, index, share).reshape(maps.shape)


def _shares(length: int, cells: int, like: Tensor) -> Tensor:
    """The weight of each of ``length`` rows in the mean of the averages of ``cells`` windows."""
    each = torch.eye(length, dtype=accumulation_dtype(like), device=like.device)
    return adaptive_avg_pool1d(each[None], cells)[0].mean(-1)
