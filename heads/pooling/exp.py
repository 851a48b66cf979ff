"""EXP pooling: the softmax-weighted mean of a map or of its probabilities."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from heads._checks import accumulation_dtype, check_choice, check_maps
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import softmax_weights
from heads.pooling.softpool import softpool

Of: TypeAlias = Literal["values", "probabilities"]


def exp(maps: Tensor, *, of: Of = "values") -> Tensor:
    """The mean of each map with the exponential of its values as weights.

    ``of="values"`` uses the maps directly, which is `heads.pooling.softpool`. ``of="probabilities"`` treats them as
    logits: with p = sigmoid(map), the pooled probability is sum(p * exp(p)) / sum(exp(p)), and the score its logit.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; an unknown ``of``.

    Source: Ye et al., PCAM, 2020 (its code calls this EXP); Wang et al., A comparison of five multiple instance
    learning pooling functions, ICASSP 2019 (of probabilities).

    >>> import torch
    >>> exp(torch.tensor([[[0.0, 40.0]]]), of="probabilities").sigmoid()  # of 0.5 and 1
    tensor([0.8112])
    """
    check_maps(maps)
    check_choice(of, "of", ("values", "probabilities"))
    if of == "values":
        return softpool(maps)
    logits = maps.flatten(-2).to(accumulation_dtype(maps))
    p = logits.sigmoid()
    # log(p) and log(1 - p) of the pooled probability p have the same denominator, which cancels.
    scores = torch.logsumexp(logsigmoid(logits) + p, -1) - torch.logsumexp(logsigmoid(-logits) + p, -1)
    return scores.to(maps.dtype)


class Exp(Pooling):
    """EXP pooling: the mean of each map, weighted by the exponential of its values.

    >>> Exp(of="probabilities")
    exp(of=probabilities)
    """

    def __init__(self, *, of: Of = "values") -> None:
        super().__init__()
        check_choice(of, "of", ("values", "probabilities"))
        self.of: Of = of

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `exp`."""
        return exp(maps, of=self.of)

    def weights(self, maps: Tensor) -> Tensor:
        """The softmax of the values, or of the probabilities; not the gradient."""
        check_maps(maps)
        values = maps if self.of == "values" else maps.to(accumulation_dtype(maps)).sigmoid()
        return softmax_weights(values).to(maps.dtype)
