"""Mixed pooling: maximum and average of each window mixed by a fixed, learnt or random weight."""

from typing import Literal

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_flag
from heads._mixture import Draw, Mode, check_mixing, check_weight, learnt_logit, weight_in_use, weight_to_show
from heads.downsampling._downsampling import Averaging
from heads.downsampling._window import Size, Window
from heads.downsampling.avgpool import window_mean
from heads.downsampling.maxpool import window_max


def mixedpool2d(
    maps: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    *,
    lam: float | Tensor = 0.5,
    mode: Literal["fixed", "random"] = "fixed",
    draw: Draw = "layer",
    training: bool = False,
    generator: torch.Generator | None = None,
    dilation: Size = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Tensor:
    """lam times the maximum of each window plus 1 - lam times its average.

    With ``mode="random"``, in training, a window gives its maximum with probability lam and its average otherwise,
    drawn once for all windows ("layer", as in the paper), for each channel of a batch ("channel") or for each window
    ("element"); outside training it gives the expectation, which is the fixed mixture. Padding counts as in
    `avgpool2d`.

    Shape:
        (N, C, H, W) -> (N, C, h, w), or (C, H, W) -> (C, h, w).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or smaller than the window; an argument out of range.

    Source: Yu et al., Mixed pooling for convolutional neural networks, RSKT 2014, equation 4 (random); Lee et al.,
    Generalizing pooling functions in CNNs: mixed, gated, and tree, AISTATS 2016, section 3.1 (fixed, learnt).

    >>> mixedpool2d(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), kernel_size=2, lam=0.25)
    tensor([[[3.7500]]])
    """
    check_mixing(mode, draw)
    window = Window.of(2, kernel_size, stride, padding, dilation, ceil_mode)
    lam = lam if isinstance(lam, Tensor) else check_weight(lam, "lam", "the maximum")
    drawn = draw if mode == "random" and training else None
    return _mixed(maps, window, lam, drawn, generator, check_flag(count_include_pad, "count_include_pad"))


def _mixed(
    maps: Tensor,
    window: Window,
    lam: float | Tensor,
    draw: Draw | None,
    generator: torch.Generator | None,
    count_include_pad: bool,
) -> Tensor:
    highest, average = window_max(maps, window), window_mean(maps, window, count_include_pad)
    dtype = accumulation_dtype(maps)
    if draw is not None:
        shape = {"element": highest.shape, "channel": (*highest.shape[-3:-2], 1, 1), "layer": ()}[draw]
        return torch.where(
            torch.rand(shape, dtype=dtype, device=maps.device, generator=generator) < lam, highest, average
        )
    highest, average = highest.to(dtype), average.to(dtype)
    return (lam * highest + (1 - lam) * average).to(maps.dtype)


class MixedPool2d(Averaging):
    """Mixed pooling: lam times the maximum of each window plus 1 - lam times its average.

    ``mode`` is "fixed"; "learned" (lam starts at the given value and is trained; it is stored as its logit, the
    parameter ``logit_lam``, which keeps it between 0 and 1); or "random" (in training the maximum with probability lam,
    else the average; ``draw`` says how often this is drawn, see `mixedpool2d`).

    >>> MixedPool2d(2, mode="random")
    mixedpool2d(kernel_size=2, stride=2, padding=0, mode=random)
    >>> MixedPool2d(2, mode="learned").weight
    0.5
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        *,
        lam: float = 0.5,
        mode: Mode = "fixed",
        draw: Draw = "layer",
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
        check_mixing(mode, draw, learned=True)
        self.lam = check_weight(lam, "lam", "the maximum")
        self.mode: Mode = mode
        self.draw: Draw = draw
        self.logit_lam = learnt_logit(self.lam, "lam") if mode == "learned" else None

    @property
    def weight(self) -> float:
        """The current weight of the maximum."""
        return weight_to_show(self.lam, self.logit_lam)

    def forward(self, maps: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Windows to values: see `mixedpool2d`. Random draws come from ``generator`` or torch's own."""
        lam = weight_in_use(self.lam, self.logit_lam)
        draw = self.draw if self.mode == "random" and self.training else None
        return _mixed(maps, self.window, lam, draw, generator, self.count_include_pad)
