"""Global average pooling."""

from torch import Tensor

from heads._checks import accumulation_dtype, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import mean_weights


def gap(maps: Tensor) -> Tensor:
    """The mean of each map.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape.

    Source: Zhou et al., Learning deep features for discriminative localization (CAM), CVPR 2016.

    >>> import torch
    >>> gap(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
    tensor([3.])
    """
    check_maps(maps)
    return maps.mean((-2, -1), dtype=accumulation_dtype(maps)).to(maps.dtype)


class GAP(Pooling):
    """Global average pooling: the mean of each map.

    >>> GAP()
    gap
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `gap`."""
        return gap(maps)

    def weights(self, maps: Tensor) -> Tensor:
        """1/n everywhere: the gradient."""
        check_maps(maps)
        return mean_weights(maps)
