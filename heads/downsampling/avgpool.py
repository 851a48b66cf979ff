"""Average pooling: torch's own, under a name for spec strings."""

import torch.nn.functional as F
from torch import Tensor

from heads._checks import accumulation_dtype, check_flag
from heads.downsampling._downsampling import Averaging
from heads.downsampling._views import mean_of, place_counts, place_views
from heads.downsampling._window import Size, Window


def avgpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The average of each window, as in `torch.nn.functional.avg_pool2d`, with dilation.

    Padding does not count, unless ``count_include_pad`` (torch's default) counts it as zeros.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    >>> import torch
    >>> avgpool2d(torch.arange(16.0).reshape(1, 4, 4), kernel_size=2).flatten()
    tensor([ 2.5000,  4.5000, 10.5000, 12.5000])
    """
    window = Window.of(2, kernel_size, stride, padding, dilation, ceil_mode)
    return window_mean(maps, window, check_flag(count_include_pad, "count_include_pad"))


def window_mean(maps: Tensor, window: Window, count_include_pad: bool) -> Tensor:
    """The mean of each window."""
    window.check(maps)
    if max(window.dilation) == 1:
        return F.avg_pool2d(maps, window.kernel, window.stride, window.padding, window.ceil_mode, count_include_pad)
    wide = maps.to(accumulation_dtype(maps))
    views = place_views(wide, window, outside=0.0)
    return mean_of(views, place_counts(wide, window, count_include_pad)).to(maps.dtype)


class AvgPool2d(Averaging):
    """The average of each window: torch's own layer, under a name for spec strings.

    >>> AvgPool2d(3, stride=2, padding=1, count_include_pad=True)
    avgpool2d(kernel_size=3, stride=2, padding=1, count_include_pad=True)
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Windows to values: see `avgpool2d`."""
        return window_mean(maps, self.window, self.count_include_pad)
