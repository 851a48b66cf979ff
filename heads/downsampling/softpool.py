"""SoftPool: the mean of a window weighted by the softmax of its values."""

import functools
from typing import ClassVar

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_flag
from heads.downsampling._downsampling import Averaging
from heads.downsampling._views import LOWEST, peak_of, place_views
from heads.downsampling._window import Size, Window
from heads.kernels import dispatch


def softpool1d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The softmax-weighted mean of each window of a sequence: see `softpool2d`.

    Shape:
        (N, C, L) -> (N, C, l), or (C, L) -> (C, l).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    >>> import math
    >>> softpool1d(torch.tensor([[0.0, math.log(3.0)]]), kernel_size=2)  # weights 1/4 and 3/4
    tensor([[0.8240]])
    """
    window = Window.of(1, kernel_size, stride, padding, dilation, ceil_mode)
    return window_softpool(maps, window, check_flag(count_include_pad, "count_include_pad"))


def softpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The mean of each window, weighted by the softmax of its values: sum(softmax(x) * x).

    As in the paper, the softmax is over the window of each channel, for values of either sign and on every device.
    Places outside the map have no weight, unless ``count_include_pad`` counts the padding as zeros, with weight exp(0).
    The gradient is that of the definition, weight * (1 + x - result).

    The authors' CUDA kernel also keeps the sign of negative results. It differs in three ways: its gradient is the
    weight alone, as if weights were constants; it subtracts no maximum, and so overflows in float32 from about x =
    88; and it gives H // stride windows along a side, with zeros where the window would leave the map. Without CUDA,
    some versions of their code take weights from sums over the channels, which is a different operator.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    Source: Stergiou, Poppe and Kalliatakis, Refining activation downsampling with SoftPool, ICCV 2021, equations 1, 2.

    >>> softpool2d(torch.full((1, 4, 4), -2.0), kernel_size=3, stride=2, padding=1)
    tensor([[[-2., -2.],
             [-2., -2.]]])
    """
    window = Window.of(2, kernel_size, stride, padding, dilation, ceil_mode)
    return window_softpool(maps, window, check_flag(count_include_pad, "count_include_pad"))


def softpool3d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The softmax-weighted mean of each window of a volume: see `softpool2d`.

    Shape:
        (N, C, D, H, W) -> (N, C, d, h, w), or (C, D, H, W) -> (C, d, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    >>> softpool3d(torch.zeros(1, 2, 2, 2), kernel_size=2)
    tensor([[[[0.]]]])
    """
    window = Window.of(3, kernel_size, stride, padding, dilation, ceil_mode)
    return window_softpool(maps, window, check_flag(count_include_pad, "count_include_pad"))


def window_softpool(maps: Tensor, window: Window, count_include_pad: bool) -> Tensor:
    """SoftPool of a window."""
    window.check(maps)
    if count_include_pad and any(window.padding):
        return defined_softpool(maps, window, count_include_pad)
    return dispatch("window_softpool", defined_softpool, maps, window)


def defined_softpool(maps: Tensor, window: Window, count_include_pad: bool = False) -> Tensor:
    """sum(softmax(x) * x) of each window, relative to its own maximum.

    >>> defined_softpool(torch.full((1, 2), 3.0), Window.of(1, kernel_size=2))
    tensor([[3.]])
    """
    wide = maps.to(accumulation_dtype(maps))
    views = place_views(wide, window, outside=LOWEST, padding=0.0 if count_include_pad else None)
    peak = peak_of(views)
    below = [view - peak for view in views]
    weights = [torch.exp(difference) for difference in below]
    total = functools.reduce(torch.add, weights)
    lowered = functools.reduce(torch.add, (w * d for w, d in zip(weights, below, strict=True)))
    # Differences from the highest value, so that a constant window is reproduced exactly.
    return (lowered / total + peak).to(maps.dtype)


class _SoftPool(Averaging):
    """The base class of SoftPool in 1, 2 and 3 dimensions."""

    def forward(self, maps: Tensor) -> Tensor:
        """Windows to values: see `softpool2d`."""
        return window_softpool(maps, self.window, self.count_include_pad)


class SoftPool1d(_SoftPool):
    """SoftPool of sequences: the softmax-weighted mean of each window.

    >>> SoftPool1d(2)
    softpool1d(kernel_size=2, stride=2, padding=0)
    """

    dims: ClassVar[int] = 1


class SoftPool2d(_SoftPool):
    """SoftPool: the mean of each window, weighted by the softmax of its values.

    >>> SoftPool2d(3, stride=2, padding=1)
    softpool2d(kernel_size=3, stride=2, padding=1)
    """

    dims: ClassVar[int] = 2


class SoftPool3d(_SoftPool):
    """SoftPool of volumes: the softmax-weighted mean of each window.

    >>> SoftPool3d((1, 2, 2))
    softpool3d(kernel_size=(1, 2, 2), stride=(1, 2, 2), padding=0)
    """

    dims: ClassVar[int] = 3
