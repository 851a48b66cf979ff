"""Two steps of the random walk for the maps of a decoder, which already cover whole objects but lack sharp edges."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from wsl.maps.refine.affinity import random_walk


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor], *, steps: int = 2) -> Tensor:
    """Apply `random_walk` with ``steps``; without features, return the maps unchanged.

    >>> import torch
    >>> refine(torch.ones(1, 1, 2, 2), None, [torch.ones(1, 3, 2, 2)]).shape
    torch.Size([1, 1, 2, 2])
    """
    return random_walk(maps, features, steps=steps) if features else maps
