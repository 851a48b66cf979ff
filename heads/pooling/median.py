"""Global median pooling."""

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_maps
from heads.pooling._pooling import Pooling


def median(maps: Tensor) -> Tensor:
    """The median of each map; for an even number of locations the mean of the middle two (in torch the lower one).

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape.

    Source: Tukey, Exploratory Data Analysis, 1977, chapter 7 (running medians).

    >>> median(torch.tensor([[[1.0, 2.0], [3.0, 9.0]]]))
    tensor([2.5000])
    """
    check_maps(maps)
    values = maps.flatten(-2).sort(-1).values
    lower, upper = _middle(values.shape[-1])
    wide = values.to(accumulation_dtype(maps))
    return (wide[..., lower] / 2 + wide[..., upper] / 2).to(maps.dtype)


def _middle(n: int) -> tuple[int, int]:
    """Ranks of the middle two of n, which are equal if n is odd."""
    return (n - 1) // 2, n // 2


class Median(Pooling):
    """Global median pooling: the middle value of each map.

    >>> Median()
    median
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `median`."""
        return median(maps)

    def weights(self, maps: Tensor) -> Tensor:
        """1 at the middle location, or 1/2 at the middle two: the gradient."""
        check_maps(maps)
        values = maps.detach().flatten(-2)
        order = values.sort(-1).indices
        lower, upper = _middle(values.shape[-1])
        half = torch.full_like(order[..., :1], 0.5, dtype=maps.dtype)
        weights = torch.zeros_like(values).scatter(-1, order[..., lower, None], half)
        return weights.scatter_add(-1, order[..., upper, None], half).reshape(maps.shape)
