"""Mixed pooling: maximum and average mixed by a fixed, learnt or random weight."""

from typing import Literal

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_maps
from heads._mixture import Draw, Mode, check_mixing, check_weight, learnt_logit, weight_in_use, weight_to_show
from heads.pooling._pooling import Pooling
from heads.pooling._selection import selected_mean
from heads.pooling._weighting import mean_weights, selected_weights


def mixed(
    maps: Tensor,
    lam: float | Tensor = 0.5,
    *,
    mode: Literal["fixed", "random"] = "fixed",
    draw: Draw = "element",
    training: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """lam times the maximum of each map plus 1 - lam times its average.

    With ``mode="random"``, in training, a map is pooled by its maximum with probability lam and by its average
    otherwise, drawn for each score ("element"), once for each class of a batch ("channel") or once for all ("layer");
    outside training by the expectation, which is the fixed mixture.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; lam outside [0, 1]; another mode or draw.

    Source: Yu et al., Mixed pooling for convolutional neural networks, RSKT 2014, equation 4 (random); Lee et al.,
    Generalizing pooling functions in CNNs: mixed, gated, and tree, AISTATS 2016, section 3.1 (fixed, learnt).

    >>> mixed(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), lam=0.25)
    tensor([3.7500])
    """
    check_maps(maps)
    check_mixing(mode, draw)
    lam = lam if isinstance(lam, Tensor) else check_weight(lam, "lam", "the maximum")
    dtype = accumulation_dtype(maps)
    highest = selected_mean(maps, 1, largest=True, rounding="floor")
    average = maps.mean((-2, -1), dtype=dtype)
    if mode == "random" and training:
        classes = highest.shape[-1:]
        shape = {"element": highest.shape, "channel": classes, "layer": torch.Size(())}[draw]
        drawn = torch.rand(shape, dtype=dtype, device=maps.device, generator=generator) < lam
        return torch.where(drawn, highest, average).to(maps.dtype)
    return (lam * highest + (1 - lam) * average).to(maps.dtype)


class Mixed(Pooling):
    """Mixed pooling: lam times the maximum of each map plus 1 - lam times its average.

    ``mode`` is "fixed"; "learned" (lam starts at the given value and is trained; it is stored as its logit, the
    parameter ``logit_lam``, which keeps it between 0 and 1); or "random" (in training a score is the maximum with
    probability lam, else the average; ``draw`` says how often this is drawn, see `mixed`).

    >>> Mixed(lam=0.25)
    mixed(lam=0.25)
    >>> Mixed(mode="learned").weight
    0.5
    """

    def __init__(self, lam: float = 0.5, *, mode: Mode = "fixed", draw: Draw = "element") -> None:
        super().__init__()
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
        """Class maps to scores: see `mixed`. Random draws come from ``generator`` or torch's own."""
        random = self.mode == "random"
        return mixed(
            maps,
            weight_in_use(self.lam, self.logit_lam),
            mode="random" if random else "fixed",
            draw=self.draw,
            training=self.training,
            generator=generator,
        )

    def weights(self, maps: Tensor) -> Tensor:
        """lam at the maximum and (1 - lam) / n everywhere: the gradient (of the expectation, for random draws)."""
        check_maps(maps)
        lam = weight_in_use(self.lam, self.logit_lam)
        return (lam * selected_weights(maps, 1) + (1 - lam) * mean_weights(maps)).to(maps.dtype)
