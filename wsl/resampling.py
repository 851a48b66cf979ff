"""Matrices that resample one axis of a map, and their copies on devices."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch


class Matrix:
    """A resampling matrix (new, old): float64 on the CPU, and float32 copies on devices on request."""

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self.weights = weights
        self._copies: dict[torch.device, torch.Tensor] = {}

    def on(self, device: torch.device) -> torch.Tensor:
        """The matrix as a float32 tensor on a device."""
        copy = self._copies.get(device)
        if copy is None:
            import torch  # the host's part of this module does without it

            # Not in inference mode, whose tensors could not be used outside of it.
            with torch.inference_mode(False):
                copy = self._copies[device] = torch.from_numpy(self.weights).to(device, torch.float32)
        return copy


@functools.lru_cache(maxsize=512)
def interpolate(old: int, start: float, stop: float, new: int) -> Matrix:
    """Bilinear samples at the centres of `new` equal parts of [start, stop), where cell i covers [i, i + 1).

    Cells at the border extend outwards.

    >>> interpolate(2, 0, 2, 4).weights.tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    centres = start + (np.arange(new) + 0.5) * (stop - start) / new
    position = np.clip(centres - 0.5, 0, old - 1)
    left = np.minimum(position.astype(np.intp), max(old - 2, 0))
    right = np.minimum(left + 1, old - 1)
    weights = np.zeros((new, old))
    np.add.at(weights, (np.arange(new), left), 1 - (position - left))
    np.add.at(weights, (np.arange(new), right), position - left)
    return Matrix(weights)


@functools.lru_cache(maxsize=512)
def average(old: int, new: int) -> Matrix:
    """Averages over `new` equal parts of a row of `old` cells, weighted by the share of each cell in the part.

    >>> average(3, 2).weights.round(3).tolist()
    [[0.667, 0.333, 0.0], [0.0, 0.333, 0.667]]
    """
    cells, scale = np.arange(old), old / new
    parts = np.arange(new)[:, None] * scale
    return Matrix((np.minimum(parts + scale, cells + 1) - np.maximum(parts, cells)).clip(min=0) / scale)


@functools.lru_cache(maxsize=512)
def window(cells: int, radius: int) -> Matrix:
    """Means over windows of `2 radius + 1` cells around each cell of a row, cut off at its ends.

    >>> window(3, 1).weights.round(3).tolist()
    [[0.5, 0.5, 0.0], [0.333, 0.333, 0.333], [0.0, 0.5, 0.5]]
    """
    number = np.arange(cells)
    inside = abs(number[:, None] - number) <= radius
    return Matrix(inside / inside.sum(1, keepdims=True))


@functools.lru_cache(maxsize=512)
def after(first: Matrix, then: Matrix) -> Matrix:
    """One matrix for two successive resamplings."""
    return Matrix(then.weights @ first.weights)


def shrunk(height: int, width: int, cells: int) -> tuple[int, int]:
    """A size (height, width) of the same aspect ratio with at most `cells` on the longer side.

    >>> shrunk(30, 60, 24), shrunk(3, 6, 24)
    ((12, 24), (3, 6))
    """
    shrink = min(1.0, cells / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))
