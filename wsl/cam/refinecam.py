"""RefineCAM: the product of the maps of several layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from wsl.cam.fuse import fuse
from wsl.cam.minmax import minmax


def refinecam(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """The product of several layers' maps, each normalised to [0, 1] first.

    A cell is high only if it is high in each layer, so the detail of shallow layers is kept and their noise removed;
    objects shrink. A constant map of one layer makes the product zero.

    Shape:
        Maps on the same grid, (..., h, w) each, to (..., h, w) in [0, 1], at least float32. The paper resizes the maps
        to the grid of the shallowest layer.

    Raises:
        UserError: there is no map, or the grids differ.

    Source: How to Evaluate and Refine your CAM, arXiv 2605.14641, which multiplies maps of Grad-CAM++.

    >>> refinecam([torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[9.0, 4.0, -1.0]])]).tolist()
    [[0.0, 0.25, 0.0]]
    """
    return fuse([minmax(one) for one in maps], "product")
