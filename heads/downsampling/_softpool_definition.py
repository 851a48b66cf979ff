"""SoftPool as it is defined, of torch's own operations: what compilers, exporters and transforms see."""

import functools

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.downsampling._views import LOWEST, peak_of, place_views
from heads.downsampling._window import Window


def defined_softpool(maps: Tensor, window: Window, count_include_pad: bool = False) -> Tensor:
    """sum(softmax(x) * x) of each window, relative to its own maximum.

    >>> defined_softpool(torch.full((1, 2), 3.0), Window.of(1, kernel_size=2))
    tensor([[3.]])
    """
    wide = maps.to(accumulation_dtype(maps))
    views = place_views(wide, window, beyond=LOWEST, padding=0.0 if count_include_pad else None)
    peak = peak_of(views)
    below = [view - peak for view in views]
    weights = [torch.exp(difference) for difference in below]
    total = functools.reduce(torch.add, weights)
    lowered = functools.reduce(torch.add, (w * d for w, d in zip(weights, below, strict=True)))
    # Differences to the highest value, so that a constant stays what it is to the last digit.
    return (lowered / total + peak).to(maps.dtype)
