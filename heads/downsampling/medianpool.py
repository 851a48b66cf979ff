"""Median pooling."""

import math

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.downsampling._downsampling import Downsampling
from heads.downsampling._views import place_counts, place_views
from heads.downsampling._window import Size, Window


def medianpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The median of each window; for an even number of values the mean of the middle two (in torch the lower one).

    Padding is ignored: the median is that of the values inside the map.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    Source: Tukey, Exploratory Data Analysis, 1977, chapter 7 (running medians).

    >>> medianpool2d(torch.tensor([[[1.0, 2.0], [3.0, 9.0]]]), kernel_size=2)
    tensor([[[2.5000]]])
    """
    return _median(maps, Window.of(2, kernel_size, stride, padding, dilation, ceil_mode))


def _median(maps: Tensor, window: Window) -> Tensor:
    window.check(maps)
    wide = maps.to(accumulation_dtype(maps))
    ordered = torch.stack(place_views(wide, window, outside=math.inf)).sort(0).values
    counts = place_counts(wide, window, count_include_pad=False)
    if counts is None:
        lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    else:
        number = torch.stack(counts).sum(0).long().expand(ordered.shape[1:])[None]
        lower, upper = ordered.gather(0, (number - 1) // 2)[0], ordered.gather(0, number // 2)[0]
    return (lower / 2 + upper / 2).to(maps.dtype)  # halved first, because the sum could overflow


class MedianPool2d(Downsampling):
    """The median of each window; for an even number of values the mean of the middle two.

    >>> MedianPool2d(3, stride=2)
    medianpool2d(kernel_size=3, stride=2, padding=0)
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Windows to values: see `medianpool2d`."""
        return _median(maps, self.window)
