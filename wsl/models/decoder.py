"""The map decoder: intermediate features of a frozen backbone to a map of each class's whole extent."""

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
    """A small network from several levels of a backbone's features to one map a class.

    Each level is standardised and projected to `width` channels by a 1x1 convolution. The coarser ones are sampled
    bilinearly where the cells of the finest look in the image, and all are added. Two residual blocks of 3x3
    convolutions follow, and a 1x1 convolution gives the logit that a cell belongs to an object of the class. The last
    layer begins with a small probability, since most classes are absent from most images.

    `channels` are those of the levels.

    Shape:
        Levels (N, C, h, w) each, in any order, to logits (N, K, h, w) on the grid of the `finest`.

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
    """What a decoder reads of a backbone's forward pass: its pyramid, and its map as the last level."""
    finer = [Features(read[name], grid) for name, grid in zip(backbone.pyramid, grids.pyramid, strict=True)]
    return [*finer, Features(read[MAP], grids.map)]


def finest(levels: Sequence[Features]) -> Features:
    """The level whose cells lie closest together; where that is not known, the one of most cells.

    >>> levels = [Features(torch.zeros(1, 1, side, side), None) for side in (2, 4)]
    >>> finest(levels) is levels[1]
    True
    """
    grids = [level.grid.stride for level in levels if level.grid is not None]
    if len(grids) == len(levels):  # an exporter that leaves sizes open cannot compare them
        return levels[grids.index(min(grids))]
    return max(levels, key=lambda level: level.values.shape[2:].numel())


def aligned(level: Features, to: Features, size: tuple[int, int]) -> torch.Tensor:
    """A level of features sampled bilinearly where the cells of another look, in an image of (height, width).

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
    """The product with the matrix of `sampling`, in operations that an exporter can leave the sizes open in."""
    old = values.shape[axis]
    # On CUDA the gradients of `index_select` are added up in no fixed order.
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

    `side` is the length of the image, of which cells on an unknown grid are equal parts.
    """
    stride, start = grid or (side / old, side / old / 2)
    step, first = to or (side / new, side / new / 2)
    # Where the other cells begin and end, in cells of these.
    begin, end = (((first + step * (i - 0.5)) - start) / stride + 0.5 for i in (0, new))
    return interpolate(old, begin, end, new)
