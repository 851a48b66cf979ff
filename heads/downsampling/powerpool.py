"""Power-average pooling of a window: from the average to the maximum by one exponent."""

import math

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_eps, check_exponent, check_flag, check_scalar
from heads.downsampling._downsampling import Averaging
from heads.downsampling._views import mean_of, peak_of, place_counts, place_views
from heads.downsampling._window import Size, Window
from heads.downsampling.maxpool import window_max

# Beyond these the result equals its limit, and exp(log p) could leave the range of floats.
_LOWEST, _HIGHEST = 1e-6, 1e6


def powerpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    p: float | Tensor = 3.0,
    eps: float = 1e-6,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """The power mean of each window: mean(x ** p) ** (1 / p), with x = max(map, eps).

    ``p = 1`` is the average for maps above eps, ``p = inf`` the maximum. A scalar tensor is assumed to be positive and
    receives a gradient. `torch.nn.LPPool2d` has the sum instead of the mean: for k values it is k ** (1 / p) times
    this. Padding counts as in `avgpool2d`.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    Source: Sermanet et al., Convolutional neural networks applied to house numbers digit classification, ICPR 2012
    (LP pooling); Radenovic et al., Fine-tuning CNN image retrieval with no human annotation (GeM), TPAMI 2018.

    >>> round(powerpool2d(torch.tensor([[[3.0, 4.0]]]), kernel_size=(1, 2), p=2).item() ** 2, 4)  # (9 + 16) / 2
    12.5
    """
    window = Window.of(2, kernel_size, stride, padding, dilation, ceil_mode)
    if isinstance(p, Tensor):
        check_scalar(p, "p")
    else:
        p = check_exponent(p)
    return _power(maps, window, p, check_eps(eps), check_flag(count_include_pad, "count_include_pad"))


def _power(maps: Tensor, window: Window, p: float | Tensor, eps: float, count_include_pad: bool) -> Tensor:
    window.check(maps)
    values = maps.to(accumulation_dtype(maps)).clamp(min=eps)
    if isinstance(p, Tensor):
        p = p.to(values.dtype).clamp(_LOWEST, _HIGHEST)
    elif p > _HIGHEST:
        return window_max(values, window).to(maps.dtype)
    # Logarithms relative to the highest value, because x ** p would overflow; expm1 and log1p keep digits for small p.
    logs = place_views(values.log(), window, outside=math.log(eps))
    peak = peak_of(logs)
    shortfall = mean_of(
        [torch.expm1(p * (log - peak)) for log in logs], place_counts(values, window, count_include_pad)
    )
    return (peak + torch.log1p(shortfall) / p).exp().to(maps.dtype)


class PowerPool2d(Averaging):
    """Power-average pooling: mean(x ** p) ** (1 / p) of each window, p = 1 the average, p = inf the maximum.

    With ``learnable`` the exponent starts at p and is trained; it is stored as its logarithm, the parameter ``log_p``,
    which keeps it positive. Values below ``eps`` count as eps: it is meant for non-negative maps.

    >>> PowerPool2d(2, p=4)
    powerpool2d(kernel_size=2, stride=2, padding=0, p=4)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        p: float = 3.0,
        learnable: bool = False,
        eps: float = 1e-6,
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
        self.p, self.eps = check_exponent(p), check_eps(eps)
        self.learnable = check_flag(learnable, "learnable")
        if learnable and not _LOWEST <= self.p <= _HIGHEST:
            raise ValueError(f"p is {p}, a limit that cannot be learnt from: start at p=3")
        self.log_p = nn.Parameter(torch.tensor(math.log(self.p))) if learnable else None

    @property
    def exponent(self) -> float:
        """The current p."""
        return self.p if self.log_p is None else self.log_p.detach().double().exp().item()

    def forward(self, maps: Tensor) -> Tensor:
        """Windows to values: see `powerpool2d`."""
        p: float | Tensor = self.p
        if self.log_p is not None:
            # Not in half precision, where the exponential of a logarithm is off by percents. Clamped before the
            # exponential, because its gradient would be infinite if it overflowed.
            log_p = self.log_p.to(accumulation_dtype(self.log_p))
            p = log_p.clamp(math.log(_LOWEST), math.log(_HIGHEST)).exp()
        return _power(maps, self.window, p, self.eps, self.count_include_pad)
