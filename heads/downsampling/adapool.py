"""AdaPool: a learnt mixture of SoftPool and a mean weighted by similarity to the window's mean."""

import functools

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_flag, check_scalar
from heads._mixture import check_weight, learnt_logit, weight_in_use, weight_to_show
from heads.downsampling._downsampling import Averaging
from heads.downsampling._views import mean_of, place_counts, place_views
from heads.downsampling._window import Size, Window
from heads.downsampling.softpool import window_softpool


def adapool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    beta: float | Tensor = 0.5,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """beta times eDSCWPool plus 1 - beta times eMPool (SoftPool) of each window.

    eDSCWPool is the mean weighted by exp(DSC), where DSC is the Dice-Sørensen coefficient of each value x with the
    window's mean m: 2 x m / (x^2 + m^2), 1 if they are equal and -1 if they are opposite (0 if both are 0). As in the
    authors' CUDA kernel it is computed for each channel separately. Their kernel computes 2 |x m| / (x^2 + m^2), so a
    value counts as much as its opposite, and gives 0 for a window in which a value and the mean are both 0; for windows
    without mixed signs the results agree. Padding counts as in `softpool2d`.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    Source: Stergiou and Poppe, AdaPool: exponential adaptive pooling for information-retaining downsampling, TIP 2023
    (arXiv 2111.00772).

    >>> maps = torch.tensor([[[1.0, 3.0]]])  # DSC with the mean 2 is 4/5 and 12/13
    >>> adapool2d(maps, kernel_size=(1, 2), beta=1.0)
    tensor([[[2.0615]]])
    """
    window = Window.of(2, kernel_size, stride, padding, dilation, ceil_mode)
    if isinstance(beta, Tensor):
        check_scalar(beta, "beta")
    else:
        beta = check_weight(beta, "beta", "eDSCWPool")
    return _adapool(maps, window, beta, check_flag(count_include_pad, "count_include_pad"))


def _adapool(maps: Tensor, window: Window, beta: float | Tensor, count_include_pad: bool) -> Tensor:
    window.check(maps)
    wide = maps.to(accumulation_dtype(maps))
    views = place_views(wide, window, outside=0.0)
    counts = place_counts(wide, window, count_include_pad)
    mean = mean_of(views, counts)
    weights = [torch.exp(_likeness(view, mean)) for view in views]
    if counts is not None:
        weights = [weight * count for weight, count in zip(weights, counts, strict=True)]
    total = functools.reduce(torch.add, weights)
    above = functools.reduce(torch.add, (w * (v - mean) for w, v in zip(weights, views, strict=True)))
    alike = above / total + mean
    return (beta * alike + (1 - beta) * window_softpool(wide, window, count_include_pad)).to(maps.dtype)


def _likeness(x: Tensor, mean: Tensor) -> Tensor:
    """The Dice-Sørensen coefficient 2 x m / (x^2 + m^2), 0 for two zeros."""
    # It does not change if both are divided by the larger one, which keeps their squares in the range of floats.
    scale = torch.maximum(x.detach().abs(), mean.detach().abs())
    scale = torch.where(scale > 0, scale, 1)
    x, mean = x / scale, mean / scale
    squares = x * x + mean * mean
    return 2 * x * mean / torch.where(squares > 0, squares, 1)


class AdaPool2d(Averaging):
    """AdaPool: beta times eDSCWPool plus 1 - beta times SoftPool of each window, with beta learnt.

    beta starts at the given value and is stored as its logit, the parameter ``logit_beta``, which keeps it between 0
    and 1. There is one beta per layer; the authors' layer has one for each output location and is bound to that size.
    ``learnable=False`` keeps it fixed.

    >>> AdaPool2d(2)
    adapool2d(kernel_size=2, stride=2, padding=0)
    >>> AdaPool2d(2, beta=0.5).weight
    0.5
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        beta: float = 0.5,
        learnable: bool = True,
        dilation: Size = 1,
        ceil_mode: bool = False,
        count_include_pad: bool = False,
    ) -> None:
        super().__init__(
            kernel_size,
            stride,
            padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )
        self.beta = check_weight(beta, "beta", "eDSCWPool")
        self.learnable = check_flag(learnable, "learnable")
        self.logit_beta = learnt_logit(self.beta, "beta", ", or learnable=False") if learnable else None

    @property
    def weight(self) -> float:
        """The current weight of eDSCWPool."""
        return weight_to_show(self.beta, self.logit_beta)

    def forward(self, maps: Tensor) -> Tensor:
        """Windows to values: see `adapool2d`."""
        return _adapool(maps, self.window, weight_in_use(self.beta, self.logit_beta), self.count_include_pad)
