"""Drawing one value of each window: where the cumulative odds first exceed a random fraction of their total."""

import functools
import math

import torch
from torch import Tensor

from heads.downsampling._views import LOWEST, peak_of, place_views
from heads.downsampling._window import Window


def choose(maps: Tensor, uniform: Tensor, window: Window, softmax: bool) -> Tensor:
    """The drawn place in each window, by values or their exponentials as odds; the number of places if all are 0."""
    wide = maps.detach().to(uniform.dtype)
    odds = place_views(wide if softmax else wide.clamp(min=0), window, outside=LOWEST if softmax else 0.0)
    if softmax:
        peak = peak_of(odds)
        odds = [torch.exp(view - peak) for view in odds]
    *sums, total = _running(odds)
    threshold = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    dtype = _place_dtype(window)
    place = functools.reduce(
        torch.add, [(passed <= threshold).to(dtype) for passed in sums], torch.zeros_like(total, dtype=dtype)
    )
    return torch.where(total == 0, len(odds), place)


def _place_dtype(window: Window) -> torch.dtype:
    return torch.uint8 if math.prod(window.kernel) < 256 else torch.int32


def _running(odds: list[Tensor]) -> list[Tensor]:
    sums = [odds[0]]
    for odd in odds[1:]:
        sums.append(sums[-1] + odd)
    return sums


def pick(maps: Tensor, chosen: Tensor, window: Window) -> Tensor:
    """The value of each window at its chosen place, 0 if nothing was chosen.

    >>> pick(torch.tensor([[5.0, 7.0]]), torch.tensor([[1]]), Window.of(1, kernel_size=2))
    tensor([[7.]])
    """
    views = place_views(maps, window, outside=0.0)
    return functools.reduce(torch.add, [torch.where(chosen == number, view, 0) for number, view in enumerate(views)])
