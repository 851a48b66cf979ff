"""EXP pooling: softmax-weighted evidence, of the map itself or of its probabilities."""

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

    ``of="values"`` takes the maps as they are, which is `heads.pooling.softpool`. ``of="probabilities"`` takes them
    as logits: of p = sigmoid(map) the pooled probability is sum(p * exp(p)) / sum(exp(p)), and the score its logit.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of another kind or shape; another word for ``of``.

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
    # log(score probability) and log(1 - it) share their denominator.
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
        """The softmax of the values, or of the probabilities; the gradient is another."""
        check_maps(maps)
        values = maps if self.of == "values" else maps.to(accumulation_dtype(maps)).sigmoid()
        return softmax_weights(values).to(maps.dtype)
