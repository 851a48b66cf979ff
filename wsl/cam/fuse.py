"""Fusion of the maps of several layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from wsl.cam.weighting import exact
from wsl.errors import UserError

Fusion = Literal["max", "mean", "product"]


def fuse(maps: Sequence[torch.Tensor], how: Fusion = "max") -> torch.Tensor:
    """Combine the maps of several layers cell by cell.

    The values of different layers' maps differ in scale: normalise the maps first (`wsl.cam.minmax.minmax`), or scale
    those of shallow layers (`wsl.cam.layercam.scale_shallow`).

    Shape:
        Maps on the same grid, (..., h, w) each, to (..., h, w), in at least float32.

    Raises:
        UserError: there is no map, the grids differ, or `how` is unknown.

    Source: the maximum is that of Jiang et al., LayerCAM, TIP 2021; the product that of RefineCAM, arXiv 2605.14641.

    >>> layers = [torch.tensor([[1.0, 0.5]]), torch.tensor([[0.0, 0.5]])]
    >>> [fuse(layers, how).tolist() for how in ("max", "mean", "product")]
    [[[1.0, 0.5]], [[0.5, 0.5]], [[0.0, 0.25]]]
    """
    if how not in ("max", "mean", "product"):
        raise UserError(f"how is {how!r}, expected 'max', 'mean' or 'product'")
    if not maps or len({one.shape for one in maps}) > 1:
        raise UserError(f"maps have shapes {[tuple(one.shape) for one in maps]}, expected one shape: resize them first")
    layers = torch.stack([exact(one) for one in maps])
    if how == "max":
        return layers.amax(0)
    return layers.mean(0) if how == "mean" else layers.prod(0)
