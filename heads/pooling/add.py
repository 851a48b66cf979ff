"""Half the sum of the maximum and the average."""

from torch import Tensor

from heads._checks import check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import mean_weights, selected_weights
from heads.pooling.mixed import mixed


def add(maps: Tensor) -> Tensor:
    """Half the sum of the maximum and the average of each map: `heads.pooling.mixed` with lam = 1/2.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape.

    Source: Woo et al., CBAM, ECCV 2018, add the two; the half is timm's (``avgmax``).

    >>> import torch
    >>> add(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
    tensor([4.5000])
    """
    return mixed(maps, 0.5)


class Add(Pooling):
    """Half the sum of the maximum and the average of each map.

    >>> Add()
    add
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `add`."""
        return add(maps)

    def weights(self, maps: Tensor) -> Tensor:
        """1/2 at the maximum and 1/(2n) everywhere: the gradient."""
        check_maps(maps)
        return 0.5 * selected_weights(maps, 1) + 0.5 * mean_weights(maps)
