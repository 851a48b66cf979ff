"""Max pooling: torch's own, under a name for spec strings."""

import torch.nn.functional as F
from torch import Tensor

from heads.downsampling._downsampling import Downsampling
from heads.downsampling._window import Size, Window


def maxpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of each window, as in `torch.nn.functional.max_pool2d`.

    For indices and unpooling use torch's ``torch.nn.MaxPool2d(…, return_indices=True)`` and `torch.nn.MaxUnpool2d`,
    which supports overlapping windows and an ``output_size``.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    >>> import torch
    >>> maxpool2d(torch.arange(16.0).reshape(1, 4, 4), kernel_size=2).flatten()
    tensor([ 5.,  7., 13., 15.])
    """
    return window_max(maps, Window.of(2, kernel_size, stride, padding, dilation, ceil_mode))


def window_max(maps: Tensor, window: Window) -> Tensor:
    """The maximum of each window; padding is ignored."""
    window.check(maps)
    return F.max_pool2d(maps, window.kernel, window.stride, window.padding, window.dilation, window.ceil_mode)


class MaxPool2d(Downsampling):
    """The maximum of each window: torch's own layer, under a name for spec strings.

    >>> MaxPool2d(3, stride=2)
    maxpool2d(kernel_size=3, stride=2, padding=0)
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Windows to values: see `maxpool2d`."""
        return window_max(maps, self.window)
