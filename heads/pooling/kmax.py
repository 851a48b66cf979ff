"""k-max pooling: the mean of the k highest values."""

from torch import Tensor

from heads._checks import check_choice, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._selection import K, Rounding, check_k, selected_mean
from heads.pooling._weighting import selected_weights


def kmax(maps: Tensor, k: K = 1, *, rounding: Rounding = "floor") -> Tensor:
    """The mean of the k highest values of each map; k = 1 is GMP, k = "all" is GAP.

    ``k >= 1`` is a count (clamped to the number of locations), ``0 < k < 1`` a proportion of the locations
    (at least one), "all" or ``k <= 0`` all of them. ``rounding`` turns a proportion into a count: "floor" as
    spatial-pooling.torch, "round" (halves to even) as WILDCAT. If equal values compete for the last places, the
    gradient goes to those that ``torch.topk`` selects, on CUDA to the first in row-major order.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; ``k`` NaN, infinite, a bool or another word.

    Source: spatial-pooling.torch; Durand et al., WELDON, CVPR 2016.

    >>> import torch
    >>> kmax(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), k=2)
    tensor([4.5000])
    """
    check_maps(maps)
    return selected_mean(maps, check_k(k) or "all", largest=True, rounding=rounding).to(maps.dtype)


class KMax(Pooling):
    """k-max pooling: the mean of the k highest values of each map.

    >>> KMax(k=10)
    kmax(k=10)
    """

    def __init__(self, k: K = 1, *, rounding: Rounding = "floor") -> None:
        super().__init__()
        check_choice(rounding, "rounding", ("floor", "round"))
        self.k = check_k(k) or "all"
        self.rounding: Rounding = rounding

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `kmax`."""
        return kmax(maps, self.k, rounding=self.rounding)

    def weights(self, maps: Tensor) -> Tensor:
        """1/k at the k highest locations: the gradient."""
        check_maps(maps)
        return selected_weights(maps, self.k, rounding=self.rounding)
