"""WELDON pooling: the highest values plus the lowest, as negative evidence."""

from typing import Literal, TypeAlias

from torch import Tensor

from heads._checks import check_choice, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._selection import K, Rounding, Selection, check_k, selected_mean, two_ended_mean
from heads.pooling._weighting import selected_weights

Reduction: TypeAlias = Literal["sum", "mean"]


def weldon(
    maps: Tensor,
    k_max: K = 1,
    k_min: K | None = None,
    *,
    reduction: Reduction = "sum",
    rounding: Rounding = "floor",
) -> Tensor:
    """The mean of the k_max highest values of each map plus the mean of its k_min lowest.

    k_max and k_min are counts, proportions or "all", as k of `heads.pooling.kmax`; k_min is k_max when None, and a
    k_min of 0 or below selects nothing, which gives k-max pooling. ``k_max=1, k_min=1`` is MANTRA. ``reduction`` "sum"
    adds the two as in spatial-pooling.torch, "mean" halves the sum as in weldon.resnet.pytorch.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; k NaN, infinite, a bool or another word; a
            k_max that selects nothing.

    Source: Durand et al., WELDON, CVPR 2016; MANTRA, ICCV 2015.

    >>> import torch
    >>> weldon(torch.tensor([[[-2.0, 0.0], [3.0, 6.0]]]), k_max=2, k_min=1)
    tensor([2.5000])
    """
    check_maps(maps)
    check_choice(reduction, "reduction", ("sum", "mean"))
    highest, lowest = check_k_pair(k_max, k_min)
    if lowest == 0:
        return selected_mean(maps, highest, largest=True, rounding=rounding).to(maps.dtype)
    weights = (1.0, 1.0) if reduction == "sum" else (0.5, 0.5)
    return two_ended_mean(maps, highest, lowest, weights=weights, rounding=rounding).to(maps.dtype)


def check_k_pair(k_max: K, k_min: K | None) -> tuple[Selection, Selection]:
    """k_max and k_min as returned by `check_k`; a k_min of None becomes k_max, one of 0 or below becomes 0.

    Raises:
        TypeError, ValueError: either is not a valid k, or k_max selects nothing.

    >>> check_k_pair(2, None), check_k_pair("all", -1)
    ((2, 2), ('all', 0))
    """
    highest = check_k(k_max, "k_max")
    if highest == 0:
        raise ValueError('k_max selects no location, expected a count, a proportion or "all": try k_max=1')
    return highest, highest if k_min is None else check_k(k_min, "k_min")


class WELDON(Pooling):
    """WELDON: the mean of the k_max highest values of each map plus the mean of its k_min lowest.

    >>> WELDON(k_max=0.2, k_min=0.2)
    weldon(k_max=0.2, k_min=0.2)
    """

    def __init__(
        self,
        k_max: K = 1,
        k_min: K | None = None,
        *,
        reduction: Reduction = "sum",
        rounding: Rounding = "floor",
    ) -> None:
        super().__init__()
        check_choice(reduction, "reduction", ("sum", "mean"))
        check_choice(rounding, "rounding", ("floor", "round"))
        self.k_max, self.k_min = check_k_pair(k_max, k_min)
        self.reduction: Reduction = reduction
        self.rounding: Rounding = rounding

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `weldon`."""
        return weldon(maps, self.k_max, self.k_min, reduction=self.reduction, rounding=self.rounding)

    def weights(self, maps: Tensor) -> Tensor:
        """1/k_max at the k_max highest locations plus 1/k_min at the k_min lowest (or half of both): the gradient.

        A location may be in both.
        """
        check_maps(maps)
        weights = selected_weights(maps, self.k_max, rounding=self.rounding)
        if self.k_min == 0:
            return weights
        weights = weights + selected_weights(maps, self.k_min, largest=False, rounding=self.rounding)
        return weights if self.reduction == "sum" else weights / 2
