"""WILDCAT pooling: the highest values plus the weighted lowest values."""

import math

from torch import Tensor

from heads._checks import check_choice, check_maps, check_number
from heads.pooling._pooling import Pooling
from heads.pooling._selection import K, Rounding, selected_mean, two_ended_mean
from heads.pooling._weighting import selected_weights
from heads.pooling.weldon import check_k_pair


def wildcat(
    maps: Tensor,
    k_max: K = 1,
    k_min: K | None = None,
    alpha: float = 1.0,
    *,
    rounding: Rounding = "floor",
) -> Tensor:
    """Half the sum of the mean of the k_max highest values and alpha times the mean of the k_min lowest.

    k_max and k_min are counts, proportions or "all", as k of `heads.pooling.kmax`; k_min is k_max when None.
    With ``alpha = 0``, or a k_min of 0 or below, nothing is halved: this is k-max pooling. The original rounds
    proportions (``rounding="round"``). Its average over several maps per class is `heads.classwise_mean`.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; k NaN, infinite, a bool or another word; a
            k_max that selects nothing; alpha negative or not finite.

    Source: Durand et al., WILDCAT, CVPR 2017.

    >>> import torch
    >>> wildcat(torch.tensor([[[-2.0, 0.0], [3.0, 6.0]]]), k_max=2, k_min=1, alpha=0.5)
    tensor([1.7500])
    """
    check_maps(maps)
    highest, lowest = check_k_pair(k_max, k_min)
    alpha = _check_alpha(alpha)
    if alpha == 0 or lowest == 0:
        return selected_mean(maps, highest, largest=True, rounding=rounding).to(maps.dtype)
    return two_ended_mean(maps, highest, lowest, weights=(0.5, alpha / 2), rounding=rounding).to(maps.dtype)


def _check_alpha(alpha: float) -> float:
    alpha = check_number(alpha, "alpha")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha is {alpha}, expected the lowest values' weight, 0 or more: try alpha=0.7")
    return alpha


class WILDCAT(Pooling):
    """WILDCAT: half the sum of the mean of the k_max highest values and alpha times the mean of the k_min lowest.

    >>> WILDCAT(k_max=0.2, k_min=0.2, alpha=0.7)
    wildcat(k_max=0.2, k_min=0.2, alpha=0.7)
    """

    def __init__(
        self,
        k_max: K = 1,
        k_min: K | None = None,
        alpha: float = 1.0,
        *,
        rounding: Rounding = "floor",
    ) -> None:
        super().__init__()
        check_choice(rounding, "rounding", ("floor", "round"))
        self.k_max, self.k_min = check_k_pair(k_max, k_min)
        self.alpha = _check_alpha(alpha)
        self.rounding: Rounding = rounding

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `wildcat`."""
        return wildcat(maps, self.k_max, self.k_min, self.alpha, rounding=self.rounding)

    def weights(self, maps: Tensor) -> Tensor:
        """Half the sum of 1/k_max at the k_max highest locations and alpha/k_min at the k_min lowest: the gradient."""
        check_maps(maps)
        weights = selected_weights(maps, self.k_max, rounding=self.rounding)
        if self.alpha == 0 or self.k_min == 0:
            return weights
        lowest = selected_weights(maps, self.k_min, largest=False, rounding=self.rounding)
        return (weights + self.alpha * lowest) / 2
