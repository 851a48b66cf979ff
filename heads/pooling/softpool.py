"""Global SoftPool: the mean of each map weighted by the softmax of its values."""

from torch import Tensor

from heads._checks import accumulation_dtype, check_maps
from heads.kernels import dispatch
from heads.pooling._pooling import Pooling
from heads.pooling._selection import selected_mean
from heads.pooling._weighting import (
    FLATTEST,
    SHARPEST,
    check_sharpness,
    mean_weights,
    selected_weights,
    sharp_softmax,
    softmax_weights,
)
from heads.pooling.gap import gap


def softpool(maps: Tensor, beta: float = 1.0) -> Tensor:
    """The softmax-weighted mean of each map: sum(softmax(beta * map) * map).

    ``beta`` is the sharpness, 1 in the paper: 0 is GAP, infinity is GMP. Maps may be signed.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; beta negative or NaN.

    Source: Stergiou et al., Refining activation downsampling with SoftPool, ICCV 2021, equation 2.

    >>> import math, torch
    >>> softpool(torch.tensor([[[0.0, 0.0, 0.0, math.log(3.0)]]]))  # weights 1/6, 1/6, 1/6, 1/2
    tensor([0.5493])
    """
    check_maps(maps)
    beta = check_sharpness(beta, "beta")
    if beta < FLATTEST:
        return gap(maps)
    if beta > SHARPEST:
        return selected_mean(maps, 1, largest=True, rounding="floor").to(maps.dtype)
    return dispatch("softpool", _softpool, maps.flatten(-2), beta).to(maps.dtype)


def _softpool(values: Tensor, beta: float) -> Tensor:
    values = values.to(accumulation_dtype(values))
    return (sharp_softmax(values, beta) * values).sum(-1)


def softpool_weights(maps: Tensor, beta: float) -> Tensor:
    """softmax(beta * map) and its limits, in the dtype of the maps.

    >>> import torch
    >>> softpool_weights(torch.tensor([[[1.0, 2.0]]]), beta=float("inf"))
    tensor([[[0., 1.]]])
    """
    if beta < FLATTEST:
        return mean_weights(maps)
    if beta > SHARPEST:
        return selected_weights(maps, 1)
    return softmax_weights(maps, beta).to(maps.dtype)


class SoftPool(Pooling):
    """Global SoftPool: the mean of each map, weighted by the softmax of beta times its values.

    >>> SoftPool()
    softpool(beta=1)
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = check_sharpness(beta, "beta")

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `softpool`."""
        return softpool(maps, self.beta)

    def weights(self, maps: Tensor) -> Tensor:
        """The softmax of each map: the score is the map's sum with these weights.

        The gradient is different: ``w * (1 + beta * (map - score))``, which is negative far below the score.
        """
        check_maps(maps)
        return softpool_weights(maps, self.beta)
