"""PCAM pooling: class evidence weighted by the map's own probabilities."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from heads._checks import accumulation_dtype, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import softmax_weights, weighted_sum


def pcam(maps: Tensor) -> Tensor:
    """The mean of each map with its probabilities as weights: sum(p * map) / sum(p) with p = sigmoid(map).

    The paper weights the *features* and applies the linear classifier, bias included, to their mean: weights that sum
    to one may as well be applied after a linear map, to the class map itself.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of another kind or shape.

    Source: Ye et al., Weakly supervised lesion localization with probabilistic-CAM pooling, 2020, equation 3.

    >>> import torch
    >>> pcam(torch.tensor([[[0.0, 40.0]]]))  # (0.5 * 0 + 1 * 40) / 1.5
    tensor([26.6667])
    """
    check_maps(maps)
    return weighted_sum(maps, _weights(maps)).to(maps.dtype)


def _weights(maps: Tensor) -> Tensor:
    # By logarithms: far below zero every probability is 0, and their shares still differ.
    return softmax_weights(logsigmoid(maps.to(accumulation_dtype(maps))))


class PCAM(Pooling):
    """PCAM pooling: the mean of each map, weighted by its probabilities.

    >>> PCAM()
    pcam
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `pcam`."""
        return pcam(maps)

    def weights(self, maps: Tensor) -> Tensor:
        """The probabilities of each map over their sum, the paper's weights; the gradient is another."""
        check_maps(maps)
        return _weights(maps).to(maps.dtype)
