"""Stochastic pooling: a random value of each window in training, its expectation in evaluation."""

import functools
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_choice, check_non_negative
from heads.downsampling._downsampling import Downsampling
from heads.downsampling._draw import choose, pick
from heads.downsampling._views import peak_of, place_views
from heads.downsampling._window import Size, Window
from heads.downsampling.softpool import window_softpool
from heads.kernels import dispatch

Probability: TypeAlias = Literal["share", "softmax"]


def stochasticpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    probability: Probability = "share",
    training: bool = False,
    generator: torch.Generator | None = None,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """A random value of each window in training; otherwise the expectation.

    The ``probability`` of a value is its "share" x / sum(x), as in the paper, which needs x >= 0 (a window of zeros
    gives 0), or its "softmax", which allows signed maps and has SoftPool as expectation. The gradient of a draw goes to
    the drawn value. Padding is never drawn.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; negative values with "share";
            an argument out of range.

    Source: Zeiler and Fergus, Stochastic pooling for regularization of deep convolutional neural networks, ICLR 2013,
    equations 4 to 6.

    >>> maps = torch.tensor([[[1.0, 3.0]]])
    >>> stochasticpool2d(maps, kernel_size=(1, 2))  # 1/4 * 1 + 3/4 * 3
    tensor([[[2.5000]]])
    >>> stochasticpool2d(maps, kernel_size=(1, 2), training=True).item() in (1.0, 3.0)
    True
    """
    window = Window.of(2, kernel_size, stride, padding, dilation, ceil_mode)
    check_choice(probability, "probability", ("share", "softmax"))
    return _stochastic(maps, window, probability, training, generator)


def _stochastic(
    maps: Tensor, window: Window, probability: Probability, training: bool, generator: torch.Generator | None
) -> Tensor:
    window.check(maps)
    if probability == "share":
        check_non_negative(maps, "probability='softmax'")
    if not training:
        return _expected_share(maps, window) if probability == "share" else window_softpool(maps, window, False)
    shape = (*maps.shape[:-2], *window.output_size(maps.shape[-2:]))
    uniform = torch.rand(shape, dtype=accumulation_dtype(maps), device=maps.device, generator=generator)
    return dispatch("window_draw", _drawn, maps, window, probability == "softmax", uniform, pick)


def _drawn(maps: Tensor, window: Window, softmax: bool, uniform: Tensor, pick: Callable[..., Tensor]) -> Tensor:
    return pick(maps, choose(maps, uniform, window, softmax), window)


def _expected_share(maps: Tensor, window: Window) -> Tensor:
    """sum(x * x) / sum(x) of each window, 0 where all are 0."""
    wide = maps.to(accumulation_dtype(maps)).clamp(min=0)
    views = place_views(wide, window, outside=0.0)
    peak = peak_of(views)
    # Relative to the highest value, because squares would leave the range of floats.
    ratios = [view / torch.where(peak > 0, peak, 1) for view in views]
    total = functools.reduce(torch.add, ratios)
    squares = functools.reduce(torch.add, (ratio * ratio for ratio in ratios))
    return (peak * squares / torch.where(total > 0, total, 1)).to(maps.dtype)


class StochasticPool2d(Downsampling):
    """Stochastic pooling: one random value of each window in training, its expectation in evaluation.

    >>> StochasticPool2d(3, stride=2, probability="softmax")
    stochasticpool2d(kernel_size=3, stride=2, padding=0, probability=softmax)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        probability: Probability = "share",
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation=dilation, ceil_mode=ceil_mode)
        check_choice(probability, "probability", ("share", "softmax"))
        self.probability: Probability = probability

    def forward(self, maps: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Windows to values: see `stochasticpool2d`. Random draws come from ``generator`` or torch's own."""
        return _stochastic(maps, self.window, self.probability, self.training, generator)
