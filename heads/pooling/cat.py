"""The average and the maximum of each map, concatenated."""

import torch
from torch import Tensor

from heads._checks import check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import mean_weights, selected_weights
from heads.pooling.gap import gap
from heads.pooling.gmp import gmp


def cat(maps: Tensor) -> Tensor:
    """The averages of all maps, then the maxima of all maps.

    Shape:
        (N, C, H, W) -> (N, 2C), or (C, H, W) -> (2C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape.

    Source: Howard et al., fastai, 2018 (``AdaptiveConcatPool2d``); in timm ``catavgmax``, whose order this is.

    >>> cat(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
    tensor([3., 6.])
    """
    check_maps(maps)
    return torch.cat([gap(maps), gmp(maps)], dim=-1)


class Cat(Pooling):
    """The average and the maximum of each map: twice as many values as maps.

    `heads.MapClassifier` learns for each class to combine the two into one score, starting at half each (``add``).

    >>> Cat()
    cat
    """

    @property
    def values_per_map(self) -> int:
        """An average and a maximum."""
        return 2

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to twice as many values: see `cat`."""
        return cat(maps)

    def values(self, maps: Tensor) -> Tensor:
        """The average and the maximum of each map side by side, (..., C, H, W) -> (..., C, 2)."""
        return torch.stack([gap(maps), gmp(maps)], dim=-1)

    def weights(self, maps: Tensor) -> Tensor:
        """A map of weights for each value, (..., C, H, W) -> (..., 2C, H, W): 1/n, then 1 at the maximum."""
        check_maps(maps)
        return torch.cat([mean_weights(maps), selected_weights(maps, 1)], dim=-3)
