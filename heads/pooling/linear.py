"""LINEAR pooling: each value weighted by itself."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from heads._checks import accumulation_dtype, check_choice, check_maps, check_non_negative
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import softmax_weights, weighted_sum
from heads.pooling.exp import Of


def linear(maps: Tensor, *, of: Of = "probabilities") -> Tensor:
    """The mean of each map with its values as weights: sum(x^2) / sum(x).

    ``of="probabilities"`` treats the maps as logits: x = sigmoid(map), and the score is the logit of the pooled
    probability. ``of="values"`` uses x = map, which must not be negative, because a sum of signed values can be zero. A
    map of zeros then gives 0.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; negative values with ``of="values"``; another word
            for ``of``.

    Source: Wang et al., A comparison of five multiple instance learning pooling functions, ICASSP 2019 (linear
    softmax); Ye et al., PCAM, 2020 (its code calls this LINEAR).

    >>> import torch
    >>> linear(torch.tensor([[[1.0, 3.0]]]), of="values")
    tensor([2.5000])
    """
    check_maps(maps)
    check_choice(of, "of", ("values", "probabilities"))
    if of == "values":
        return weighted_sum(maps, share_weights(maps, "of='probabilities'")).to(maps.dtype)
    logits = maps.flatten(-2).to(accumulation_dtype(maps))
    p, q = logsigmoid(logits), logsigmoid(-logits)
    # The probability is sum(p * p) / sum(p), its complement sum(p * q) / sum(p).
    return (torch.logsumexp(2 * p, -1) - torch.logsumexp(p + q, -1)).to(maps.dtype)


def share_weights(maps: Tensor, instead: str) -> Tensor:
    """Each location's share of the sum of its map, in `accumulation_dtype`; 0 in a map of zeros.

    Raises:
        ValueError: a value is negative; ``instead`` is the argument with which such maps are accepted.

    >>> share_weights(torch.tensor([[[1.0, 3.0]], [[0.0, 0.0]]]), "").tolist()
    [[[0.25, 0.75]], [[0.0, 0.0]]]
    """
    check_non_negative(maps, instead)
    values = maps.to(accumulation_dtype(maps))
    # Divided by the peak first: a sum of the largest floats would be infinite, as would 1 over the smallest.
    peak = values.detach().amax((-2, -1), keepdim=True)
    relative = values / torch.where(peak > 0, peak, 1)
    total = relative.sum((-2, -1), keepdim=True)
    return relative / torch.where(total > 0, total, 1)


class Linear(Pooling):
    """LINEAR pooling: the mean of each map, weighted by its own values or probabilities.

    >>> Linear()
    linear
    """

    def __init__(self, *, of: Of = "probabilities") -> None:
        super().__init__()
        check_choice(of, "of", ("values", "probabilities"))
        self.of: Of = of

    @property
    def for_signed_maps(self) -> str | None:
        """The argument that is required for signed maps; None if it is set."""
        return "of=probabilities" if self.of == "values" else None

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `linear`."""
        return linear(maps, of=self.of)

    def weights(self, maps: Tensor) -> Tensor:
        """Each location's share of the sum of its map's values or probabilities; not the gradient."""
        check_maps(maps)
        if self.of == "values":
            return share_weights(maps, "of='probabilities'").to(maps.dtype)
        return softmax_weights(logsigmoid(maps.to(accumulation_dtype(maps)))).to(maps.dtype)
