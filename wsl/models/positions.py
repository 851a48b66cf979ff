"""Positions in the image of the values inside a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

# In pixels; smaller differences are rounding errors.
_SAME = 1e-2


class Positions(NamedTuple):
    """Coordinates of a tensor's values in pixels of the image, along its height and its width.

    Shape:
        That of the tensor; NaN for a value without a position. Axes along which nothing changes are expanded.
    """

    y: torch.Tensor
    x: torch.Tensor

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Positions:
        """The same change applied to both coordinates."""
        return Positions(change(self.y), change(self.x))


class Line(NamedTuple):
    """Coordinates along an axis: the i-th is ``start + i * stride``."""

    start: float
    stride: float


def line(coordinates: torch.Tensor) -> Line | None:
    """The line on which coordinates (..., L) lie along their last axis; None if they do not.

    Places without coordinates, such as padding, are ignored.

    >>> line(torch.tensor([[float("nan"), 1.0, 3.0], [-1.0, 1.0, 3.0]]))
    Line(start=-1.0, stride=2.0)
    """
    rows = compact(coordinates).reshape(-1, coordinates.shape[-1])
    mean = rows.nanmean(0)
    found = (~mean.isnan()).nonzero()[:, 0]
    if len(found) < 2:
        return None
    first, last = int(found[0]), int(found[-1])
    stride = float(mean[last] - mean[first]) / (last - first)
    start = float(mean[first]) - first * stride
    index = torch.arange(len(mean), device=mean.device)
    off = (rows - (start + index * stride)).abs()
    if stride <= 0 or bool((off[~off.isnan()] > 1e-3 * stride).any()):
        return None
    return Line(round(start, 4), round(stride, 4))


def compact(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with its expanded axes reduced to length one."""
    for axis in range(tensor.ndim - 1):
        if tensor.stride(axis) == 0:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


def plane(positions: Positions) -> Positions:
    """Coordinates of maps (N, C, h, w), averaged over channels and images: (h, w)."""
    return positions.map(lambda one: compact(one).nanmean((0, 1)).expand(one.shape[-2:]))


def drawn(lines: Sequence[Line], shape: Sequence[int], device: torch.device) -> Positions:
    """The positions of maps (N, C, h, w) whose rows and columns lie on two lines."""
    down, across = (
        one.start + one.stride * torch.arange(side, device=device) for one, side in zip(lines, shape[-2:], strict=True)
    )
    return Positions(down[:, None].expand(*shape), across.expand(*shape))


def varies(tensor: torch.Tensor, axis: int | None = None) -> bool:
    """Whether coordinates differ, along one axis or at all."""
    if axis is not None and tensor.stride(axis) == 0:
        return False
    low, high = (tensor.nan_to_num(nan=fill) for fill in (torch.inf, -torch.inf))
    if axis is None:
        return bool(high.max() > low.min() + _SAME)
    return bool((high.amax(axis) > low.amin(axis) + _SAME).any())
