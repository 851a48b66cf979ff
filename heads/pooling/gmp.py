"""Global maximum pooling."""

from torch import Tensor

from heads._checks import check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import selected_weights


def gmp(maps: Tensor) -> Tensor:
    """The highest value of each map; its gradient goes to a single location, even with ties.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape.

    Source: Oquab et al., Is object localization for free?, CVPR 2015.

    >>> import torch
    >>> gmp(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
    tensor([6.])
    """
    check_maps(maps)
    return maps.flatten(-2).max(-1).values


class GMP(Pooling):
    """Global maximum pooling: the highest value of each map.

    >>> GMP()
    gmp
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `gmp`."""
        return gmp(maps)

    def weights(self, maps: Tensor) -> Tensor:
        """1 at the highest location: the gradient."""
        check_maps(maps)
        return selected_weights(maps, 1)
