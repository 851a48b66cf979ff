"""A step of the random walk for the maps of a decoder, which hold whole objects already and lack their edges."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wsl.maps.refine.affinity import random_walk


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor], *, steps: int = 1) -> Tensor:
    """Apply `random_walk` with so many ``steps``; without features the maps stay as they are.

    >>> import torch
    >>> refine(torch.ones(1, 1, 2, 2), None, [torch.ones(1, 3, 2, 2)]).shape
    torch.Size([1, 1, 2, 2])
    """
    return random_walk(maps, features, steps=steps) if features else maps
