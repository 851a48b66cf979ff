"""CSRA: the average of a map plus its softmax-weighted mean."""

import math

import torch
from torch import Tensor

from heads._checks import accumulation_dtype, check_maps, check_number
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import SHARPEST, check_sharpness, mean_weights
from heads.pooling.softpool import softpool, softpool_weights

MAXIMUM = 99.0
"""The temperature that stands for infinity in the authors' code."""
HEAD_SETS: dict[int, tuple[float, ...]] = {
    1: (1,),
    2: (1, MAXIMUM),
    4: (1, 2, 4, MAXIMUM),
    6: (1, 2, 3, 4, 5, MAXIMUM),
    8: (1, 2, 3, 4, 5, 6, 7, MAXIMUM),
}
"""The published temperatures by number of heads."""


def csra(maps: Tensor, heads: int | tuple[float, ...] = 1, lam: float = 0.1) -> Tensor:
    """Summed over temperatures T: the mean of each map plus lam times sum(softmax(T * map) * map).

    ``heads`` is 1, 2, 4, 6 or 8 for the published temperatures (1: T = 1; 2: 1 and 99; 4: 1, 2, 4 and 99; …), or a
    tuple of temperatures. T = 99 is the maximum, as in the authors' code. The paper uses lam = 0.1 and one head on VOC,
    lam = 0.5 and four on COCO.

    This function applies all temperatures to the same map. In the paper each head has its own map, from a 1x1
    convolution without bias whose weights have norm 1; `heads.MapClassifier` creates these for this pooling.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; heads of another number, or a negative temperature;
            lam negative or not finite.

    Source: Zhu and Wu, Residual attention: a simple but effective method for multi-label recognition, ICCV 2021,
    equations 3 to 6.

    >>> csra(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), heads=(99.0,), lam=0.5)  # 3 + 0.5 * 6
    tensor([6.])
    """
    check_maps(maps)
    temperatures, lam = _temperatures(check_heads(heads)), check_lambda(lam)
    wide = maps.to(accumulation_dtype(maps))
    attended = [softpool(wide, t) for t in temperatures]
    return (len(attended) * wide.mean((-2, -1)) + lam * torch.stack(attended).sum(0)).to(maps.dtype)


def check_heads(heads: object) -> int | tuple[float, ...]:
    """Accept the size of a published set of temperatures, or a tuple of temperatures.

    >>> check_heads(3)
    Traceback (most recent call last):
    ValueError: heads is 3, expected 1, 2, 4, 6 or 8, or a tuple of temperatures such as (1, 99)
    """
    expected = "expected 1, 2, 4, 6 or 8, or a tuple of temperatures such as (1, 99)"
    if isinstance(heads, (tuple, list)):
        if not heads:
            raise ValueError(f"heads is empty, {expected}")
        return tuple(check_sharpness(t, "temperature") for t in heads)
    if isinstance(heads, bool) or not isinstance(heads, int):
        raise TypeError(f"heads is {heads!r}, {expected}")
    if heads not in HEAD_SETS:
        raise ValueError(f"heads is {heads}, {expected}")
    return heads


def check_lambda(lam: object) -> float:
    """Accept the weight of the attended value, 0 or more.

    >>> check_lambda(0.1)
    0.1
    """
    number = check_number(lam, "lam")
    if not 0 <= number < math.inf:
        raise ValueError(f"lam is {number}, expected the attention's weight, 0 or more: try lam=0.1")
    return number


def _temperatures(heads: int | tuple[float, ...]) -> list[float]:
    chosen = heads if isinstance(heads, tuple) else HEAD_SETS[heads]
    return [math.inf if t == MAXIMUM or t > SHARPEST else t for t in chosen]


class CSRA(Pooling):
    """CSRA: the mean of each map plus lam times its softmax-weighted mean, summed over temperatures.

    ``heads`` is a published number of temperatures, or a tuple of them: see `csra`. A classifier head makes separate
    maps for each; its class maps are their sum.

    >>> CSRA(heads=4, lam=0.5)
    csra(heads=4, lam=0.5)
    """

    unit_norm = True

    def __init__(self, heads: int | tuple[float, ...] = 1, lam: float = 0.1) -> None:
        super().__init__()
        self.heads, self.lam = check_heads(heads), check_lambda(lam)

    @property
    def branches(self) -> int:
        """One convolution for each temperature."""
        return len(_temperatures(self.heads))

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `csra`."""
        return csra(maps, self.heads, self.lam)

    def weights(self, maps: Tensor) -> Tensor:
        """1/n plus lam times the softmax, summed over temperatures: the score is the map's sum with these weights.

        The gradient is different; see `SoftPool`. For T = 99 alone the two are the same.
        """
        check_maps(maps)
        wide = maps.to(accumulation_dtype(maps))
        weights = [mean_weights(wide) + self.lam * softpool_weights(wide, t) for t in _temperatures(self.heads)]
        return torch.stack(weights).sum(0).to(maps.dtype)

    def combine(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over the heads' own maps, each pooled at its temperature, and the sum of the maps."""
        own = maps.chunk(self.branches, dim=-3)
        scores = [csra(m, (t,), self.lam) for m, t in zip(own, _temperatures(self.heads), strict=True)]
        return torch.stack(scores).sum(0), torch.stack(own).sum(0)
