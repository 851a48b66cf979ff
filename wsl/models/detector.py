"""The box detector: intermediate features of a frozen backbone to boxes of each class and their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from wsl.models.decoder import aligned, finest
from wsl.models.grid import Grid
from wsl.models.protocol import Detected, Features

WIDTH = 64
_LEVELS = 4
# A step of the network's regression is so many cells: an object is as large as a few of them at its level.
_UNIT = 2.0
_LARGEST = 6.0
# Of a class, before overlapping ones are left out.
_MOST = 60


class Dense(NamedTuple):
    """The outputs of a detector at each of its L places in the input of N images.

    Shape:
        ``classes`` (N, L, K) are logits, ``centredness`` (N, L) the logit that the place is the centre of its object,
        and ``sides`` (N, L, 4) the distances from the place to the left, top, right and bottom of its box, in pixels.
        ``places`` (L, 2) are x and y in pixels, and ``strides`` (L,) the distances between places of one level.
    """

    classes: torch.Tensor
    centredness: torch.Tensor
    sides: torch.Tensor
    places: torch.Tensor
    strides: torch.Tensor

    @property
    def xyxy(self) -> torch.Tensor:
        """The boxes (N, L, 4), in pixels of the input."""
        return torch.cat([self.places - self.sides[..., :2], self.places + self.sides[..., 2:]], -1)

    @property
    def scores(self) -> torch.Tensor:
        """The score of each box for each class, (N, L, K) in [0, 1]: the square root of class times centredness."""
        return (self.classes.sigmoid() * self.centredness.sigmoid()[..., None]).sqrt()


def best_places(xyxy: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor) -> Detected:
    """The boxes of highest score for each image's classes; many of them may cover the same object.

    Shape:
        ``xyxy`` (N, L, 4), ``scores`` (N, L, K) and class indices (N, J).

    >>> found = best_places(torch.zeros(1, 90, 4), torch.rand(1, 90, 3), torch.tensor([[2, 0]]))
    >>> found.xyxy.shape, found.scores.shape
    (torch.Size([1, 2, 60, 4]), torch.Size([1, 2, 60]))
    """
    images, places = len(scores), scores.shape[1]
    of = scores.gather(2, classes[:, None].expand(-1, places, -1)).mT
    best, where = of.topk(min(_MOST, places), dim=2)
    boxes = xyxy[torch.arange(images, device=xyxy.device)[:, None, None], where]
    return Detected(boxes.float(), best.float())


class BoxDetector(nn.Module):
    """A small detector without anchors (FCOS) on several levels of a backbone's features.

    Each level is standardised and projected to `width` channels by a 1x1 convolution; all are added at the cell
    positions of the finest level, as in `MapDecoder`. Convolutions of stride 2 make a pyramid of four levels from the
    sum, each for objects twice as large as the level before. Two convolutions that all levels share, followed by one
    for each output, predict the class at each place, the distances to the sides of its box, and its centredness.

    `channels` are the numbers of channels of the levels.

    Shape:
        Levels (N, C, h, w) each, in any order, to `Dense` at all cells of the pyramid.

    Source: Tian et al., FCOS: Fully Convolutional One-Stage Object Detection, ICCV 2019.

    >>> detector = BoxDetector([32, 96], num_classes=20)
    >>> fine = Features(torch.zeros(1, 32, 8, 8), Grid(8, 0.5))
    >>> coarse = Features(torch.zeros(1, 96, 4, 4), Grid(16, 0.5))
    >>> found = detector([fine, coarse], (64, 64))
    >>> found.classes.shape, found.places[:2].tolist()
    (torch.Size([1, 85, 20]), [[0.5, 0.5], [8.5, 0.5]])
    """

    def __init__(self, channels: Sequence[int], num_classes: int, width: int = WIDTH) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(count, affine=False) for count in channels)
        self.projections = nn.ModuleList(nn.Conv2d(count, width, 1, bias=False) for count in channels)
        self.smooth = _convolution(width)
        self.shrink = nn.ModuleList(_convolution(width, stride=2) for _ in range(_LEVELS - 1))
        self.tower = nn.Sequential(_convolution(width), _convolution(width))
        self.classes = nn.Conv2d(width, num_classes, 3, padding=1)
        self.sides = nn.Conv2d(width, 4, 3, padding=1)
        self.centredness = nn.Conv2d(width, 1, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(_LEVELS))
        for layer in (self.classes, self.sides, self.centredness):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type] # there is one
        # Nearly every place shows no object of a class: one in a hundred, to begin with.
        nn.init.constant_(self.classes.bias, -math.log(99))  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Features], size: tuple[int, int]) -> Dense:
        """The outputs at each place, for images of a size (height, width)."""
        to = finest(levels)
        x = torch.zeros((), device=to.values.device)
        for level, norm, project in zip(levels, self.norms, self.projections, strict=True):
            projected = project(norm(level.values))
            x = x + (projected if level is to else aligned(Features(projected, level.grid), to, size))
        x, grid = self.smooth(x), to.grid
        answers = [self._answers(x, 0, grid, size)]
        for number, shrink in enumerate(self.shrink, 1):
            x = shrink(x)
            # A padded convolution of stride 2 begins where its input does.
            grid = None if grid is None else Grid(2 * grid.stride, grid.start)
            answers.append(self._answers(x, number, grid, size))
        classes, centredness, sides, places, strides = zip(*answers, strict=True)
        return Dense(
            torch.cat(classes, 1),
            torch.cat(centredness, 1)[..., 0],
            torch.cat(sides, 1),
            torch.cat(places),
            torch.cat(strides),
        )

    def _answers(self, x: torch.Tensor, number: int, grid: Grid | None, size: tuple[int, int]) -> Dense:
        read = self.tower(x)
        places, stride = _places(x, grid, size)
        steps = (self.sides(read).float() * self.scales[number]).clamp(max=_LARGEST)
        return Dense(
            _flat(self.classes(read)).float(),
            _flat(self.centredness(read)).float(),
            _flat(steps.exp()) * (_UNIT * stride),
            places,
            torch.full_like(places[:, 0], stride),
        )


def _convolution(width: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False), nn.GroupNorm(8, width), nn.ReLU()
    )


def _flat(values: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) as (N, h * w, C)."""
    return values.flatten(2).mT


def _places(x: torch.Tensor, grid: Grid | None, size: tuple[int, int]) -> tuple[torch.Tensor, float]:
    """Where in the input the cells of a level look, (h * w, 2) as x and y, row by row, and how far apart."""
    height, width = x.shape[2:]
    across = grid or Grid(size[1] / width, size[1] / width / 2)
    down = grid or Grid(size[0] / height, size[0] / height / 2)
    columns = across.start + across.stride * torch.arange(width, device=x.device, dtype=torch.float32)
    rows = down.start + down.stride * torch.arange(height, device=x.device, dtype=torch.float32)
    places = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    return places.flatten(0, 1), across.stride
