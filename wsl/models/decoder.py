"""The map decoder: intermediate features of a frozen backbone to maps of whole objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from wsl.models.grid import Grid
from wsl.models.protocol import Features
from wsl.models.taps import MAP
from wsl.resampling import Matrix, interpolate

if TYPE_CHECKING:
    from wsl.models.backbone import Backbone, Grids

WIDTH = 64


class MapDecoder(nn.Module):
    """A small network from several levels of a backbone's features to one map per class.

    Each level is standardised and projected to `width` channels by a 1x1 convolution. Coarser levels are sampled
    bilinearly at the positions of the finest level's cells in the image, and all are added. Two residual blocks of 3x3
    convolutions follow, and a 1x1 convolution gives the logit that a cell belongs to an object of the class. The bias
    of the last layer starts at a small probability, because most classes are absent from most images.

    `channels` are the channels of the levels.

    Shape:
        Levels, (N, C, h, w) each, in any order, to logits (N, K, h, w) on the grid of the `finest`.

    >>> decoder = MapDecoder([32, 96], num_classes=20)
    >>> fine = Features(torch.zeros(1, 32, 8, 8), Grid(8, 0.5))
    >>> coarse = Features(torch.zeros(1, 96, 4, 4), Grid(16, 0.5))
    >>> decoder([fine, coarse], (64, 64)).shape
    torch.Size([1, 20, 8, 8])
    """

    def __init__(self, channels: Sequence[int], num_classes: int, width: int = WIDTH) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in channels)
        self.projections = nn.ModuleList(nn.Conv2d(count, width, 1, bias=False) for count in channels)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(2))
        self.classify = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.constant_(self.classify.bias, -2.0)  # type: ignore[arg-type] # there is one

    def forward(self, levels: Sequence[Features], size: tuple[int, int]) -> torch.Tensor:
        """Logits for images of a size (height, width)."""
        to = finest(levels)
        x = torch.zeros((), device=to.values.device)
        for level, norm, project in zip(levels, self.norms, self.projections, strict=True):
            projected = project(norm(level.values))
            x = x + (projected if level is to else aligned(Features(projected, level.grid), to, size))
        x = self.norm(x).relu()
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.classify(x)
        return logits


class _Block(nn.Module):
    """A residual block: ``x + ReLU(BN(conv3x3(x)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.norm(self.conv(x)).relu()
        return y


def levels(backbone: Backbone, read: Mapping[str, torch.Tensor], grids: Grids) -> list[Features]:
    """The inputs of a decoder from a backbone's forward pass: its pyramid, and its map as the last level."""
    finer = [Features(read[name], grid) for name, grid in zip(backbone.pyramid, grids.pyramid, strict=True)]
    return [*finer, Features(read[MAP], grids.map)]


def finest(levels: Sequence[Features]) -> Features:
    """The level with the smallest stride, or if strides are unknown, the one with the most cells.

    >>> levels = [Features(torch.zeros(1, 1, side, side), None) for side in (2, 4)]
    >>> finest(levels) is levels[1]
    True
    """
    grids = [level.grid.stride for level in levels if level.grid is not None]
    if len(grids) == len(levels):  # strides, because an exporter cannot compare dynamic sizes
        return levels[grids.index(min(grids))]
    return max(levels, key=lambda level: level.values.shape[2:].numel())


def aligned(level: Features, to: Features, size: tuple[int, int]) -> torch.Tensor:
    """A level of features sampled bilinearly at the cell positions of another, in an image of (height, width).

    Shape:
        (N, C, h, w) and a level of (h', w') cells to (N, C, h', w').

    >>> coarse = Features(torch.tensor([[[[0.0, 4.0]]]]), Grid(16, 0))
    >>> fine = Features(torch.zeros(1, 1, 1, 4), Grid(8, 0))
    >>> aligned(coarse, fine, (1, 32)).tolist()
    [[[[0.0, 2.0, 4.0, 4.0]]]]
    """
    values = level.values
    for axis, (new, side) in enumerate(zip(to.values.shape[2:], size, strict=True), 2):
        values = _sampled(values, axis, new, side, level.grid, to.grid)
    return values


def _sampled(values: torch.Tensor, axis: int, new: int, side: int, grid: Grid | None, to: Grid | None) -> torch.Tensor:
    """The product with the matrix of `sampling`, in operations that can be exported with dynamic sizes."""
    old = values.shape[axis]
    # On CUDA the gradients of `index_select` are summed in no fixed order.
    if values.requires_grad:
        matrix = sampling(old, new, side, grid, to).on(values.device).to(values.dtype)
        return matrix @ values if axis == 2 else values @ matrix.mT
    stride, start = grid or (side / old, side / old / 2)
    step, first = to or (side / new, side / new / 2)
    cells = torch.arange(new, device=values.device, dtype=torch.float32)
    position = ((first - start + step * cells) / stride).clamp(min=0).clamp(max=old - 1)
    left = position.long()
    right = (left + 1).clamp(max=old - 1)
    weight = (position - left).to(values.dtype).view(-1, *[1] * (values.ndim - 1 - axis))
    return values.index_select(axis, left).lerp(values.index_select(axis, right), weight)


def sampling(old: int, new: int, side: int, grid: Grid | None, to: Grid | None) -> Matrix:
    """The matrix (new, old) that samples a row of `old` cells at the centres of `new` others.

    `side` is the length of the image; cells on an unknown grid are equal parts of it.
    """
    stride, start = grid or (side / old, side / old / 2)
    step, first = to or (side / new, side / new / 2)
    # Where the new cells start and end, in units of the old cells.
    begin, end = (((first + step * (i - 0.5)) - start) / stride + 0.5 for i in (0, new))
    return interpolate(old, begin, end, new)
