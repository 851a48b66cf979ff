"""Stochastic pooling: the value of a random location in training, its expectation in evaluation."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from heads._checks import check_choice, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import softmax_weights, weighted_sum
from heads.pooling.linear import share_weights

Probability: TypeAlias = Literal["share", "softmax"]


def stochastic(
    maps: Tensor,
    *,
    probability: Probability = "share",
    training: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The value of a random location of each map in training; otherwise the expectation.

    The ``probability`` of a location is its "share" x / sum(x), as in the paper, which needs x >= 0 (a map of zeros
    gives 0), or its "softmax", which allows signed maps. The gradient of a draw goes to the drawn location.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; negative values with "share"; another probability.

    Source: Zeiler and Fergus, Stochastic pooling for regularization, ICLR 2013, equations 4 to 6.

    >>> maps = torch.tensor([[[1.0, 3.0]]])
    >>> stochastic(maps)  # 1/4 * 1 + 3/4 * 3
    tensor([2.5000])
    >>> stochastic(maps, training=True).item() in (1.0, 3.0)
    True
    """
    check_maps(maps)
    weights = _probabilities(maps, probability)
    if not training:
        return weighted_sum(maps, weights).to(maps.dtype)
    # In a race of independent exponentials location i wins with its probability and zeros never win. Unlike
    # torch.multinomial, this supports maps of zeros, empty batches and vmap.
    odds = weights.detach().flatten(-2)
    noise = torch.empty_like(odds).exponential_(generator=generator)
    index = (odds / noise).argmax(-1, keepdim=True)
    return maps.flatten(-2).gather(-1, index).squeeze(-1)


def _probabilities(maps: Tensor, probability: Probability) -> Tensor:
    check_choice(probability, "probability", ("share", "softmax"))
    if probability == "softmax":
        return softmax_weights(maps)
    return share_weights(maps, "probability='softmax'")


class Stochastic(Pooling):
    """Stochastic pooling: the value of a random location in training, its expectation in evaluation.

    >>> Stochastic(probability="softmax")
    stochastic(probability=softmax)
    """

    def __init__(self, *, probability: Probability = "share") -> None:
        super().__init__()
        check_choice(probability, "probability", ("share", "softmax"))
        self.probability: Probability = probability

    @property
    def for_signed_maps(self) -> str | None:
        """The argument that is required for signed maps; None if it is set."""
        return "probability=softmax" if self.probability == "share" else None

    def forward(self, maps: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Class maps to scores: see `stochastic`. Random draws come from ``generator`` or torch's own."""
        return stochastic(maps, probability=self.probability, training=self.training, generator=generator)

    def weights(self, maps: Tensor) -> Tensor:
        """The probabilities with which locations are drawn; not the gradient of the expectation."""
        check_maps(maps)
        return _probabilities(maps, self.probability).to(maps.dtype)
