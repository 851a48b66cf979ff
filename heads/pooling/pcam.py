"""PCAM pooling: the mean of a map weighted by its probabilities."""

from torch import Tensor
from torch.nn.functional import logsigmoid

from heads._checks import accumulation_dtype, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import softmax_weights, weighted_sum


def pcam(maps: Tensor) -> Tensor:
    """The mean of each map with its probabilities as weights: sum(p * map) / sum(p) with p = sigmoid(map).

    The paper weights the *features* and applies the linear classifier, including its bias, to their mean; because the
    weights sum to one, it is equivalent to apply them to the class map itself.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape.

    Source: Ye et al., Weakly supervised lesion localization with probabilistic-CAM pooling, 2020, equation 3.

    >>> import torch
    >>> pcam(torch.tensor([[[0.0, 40.0]]]))  # (0.5 * 0 + 1 * 40) / 1.5
    tensor([26.6667])
    """
    check_maps(maps)
    return weighted_sum(maps, _weights(maps)).to(maps.dtype)


def _weights(maps: Tensor) -> Tensor:
    # In logarithms, because far below zero all probabilities round to 0 while their ratios still differ.
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
        """The probabilities of each map over their sum, as in the paper; not the gradient."""
        check_maps(maps)
        return _weights(maps).to(maps.dtype)
