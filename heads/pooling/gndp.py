"""GNDP: the mean of the locations that are not discriminative."""

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_maps, check_number
from heads.pooling._pooling import Pooling


def gndp(maps: Tensor, threshold: float = 0.4) -> Tensor:
    """The mean over all locations of each map, with those at or above ``threshold`` times its maximum counted as 0.

    The most discriminative locations do not contribute to the score, and the gradient goes to the rest. A map without a
    positive value has no discriminative locations: its score is the mean.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape, or a ``threshold`` outside (0, 1].

    Source: Lee et al., Reducing Information Bottleneck for Weakly Supervised Semantic Segmentation, NeurIPS 2021.

    >>> import torch
    >>> gndp(torch.tensor([[[1.0, 2.0], [-5.0, 10.0]]]))  # (1 + 2 - 5) / 4
    tensor([-0.5000])
    """
    check_maps(maps)
    return (maps * _weights(maps, _check_threshold(threshold))).sum((-2, -1)).to(maps.dtype)


def _weights(maps: Tensor, threshold: float) -> Tensor:
    """1 over the number of locations where a map is not discriminative, 0 elsewhere."""
    with torch.no_grad():
        dtype = accumulation_dtype(maps)
        highest = maps.amax((-2, -1), keepdim=True).to(dtype)
        stays = (highest <= 0) | (maps.to(dtype) < threshold * highest)
        return stays.to(dtype) / (maps.shape[-2] * maps.shape[-1])


def _check_threshold(threshold: object) -> float:
    number = check_number(threshold, "threshold")
    if not 0 < number <= 1:
        raise ValueError(f"threshold is {number}, expected a fraction of the maximum in (0, 1]: try threshold=0.4")
    return number


class GNDP(Pooling):
    """Global non-discriminative region pooling: the mean of the locations below a fraction of the maximum.

    >>> GNDP()
    gndp(threshold=0.4)
    """

    def __init__(self, threshold: float = 0.4) -> None:
        super().__init__()
        self.threshold = _check_threshold(threshold)

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `gndp`."""
        return gndp(maps, self.threshold)

    def weights(self, maps: Tensor) -> Tensor:
        """1 over the number of locations below the threshold, 0 at the others: the gradient."""
        check_maps(maps)
        return _weights(maps, self.threshold).to(maps.dtype)
