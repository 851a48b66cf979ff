"""Min-max normalisation of map tensors, for methods that combine normalised maps."""

from __future__ import annotations

import torch

from wsl.cam.weighting import exact


def minmax(maps: torch.Tensor) -> torch.Tensor:
    """Stretch each map linearly so that its minimum becomes 0 and its maximum 1.

    A map without contrast becomes all zeros: a constant map, or one with a NaN or an infinity. No epsilon is added to
    the range, so the scale of the values does not matter.

    Shape:
        (..., h, w), each map on its own, to the same shape.

    >>> minmax(torch.tensor([[[1e-9, 3e-9]], [[7.0, 7.0]]])).tolist()
    [[[0.0, 1.0]], [[0.0, 0.0]]]
    """
    values = exact(maps)
    low, high = values.amin((-2, -1), keepdim=True), values.amax((-2, -1), keepdim=True)
    span = high - low
    return torch.where((span > 0) & span.isfinite(), (values - low) / span, 0)
