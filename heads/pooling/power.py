"""Power-average pooling, GeM: from the average to the maximum by one exponent."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from heads._checks import (
    accumulation_dtype,
    check_choice,
    check_eps,
    check_exponent,
    check_learnable,
    check_maps,
    check_per_map,
)
from heads.kernels import dispatch
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import FLATTEST, SHARPEST, mean_weights, selected_weights
from heads.pooling.exp import Of
from heads.pooling.gmp import gmp
from heads.pooling.lse import lse, plain_lse

# Beyond these the result equals its limit, and exp(log p) could leave the range of floats.
_LOWEST, _HIGHEST = 1e-6, 1e6
# Below this logarithm of 1 - x, x - 1 equals the logarithm of x to the last digit of a double.
_NEAR_ONE = -34.0


def gem(maps: Tensor, p: float | Tensor = 3.0, *, of: Of = "values", eps: float = 1e-6) -> Tensor:
    """The power mean of each map: mean(x ** p) ** (1 / p), with x = max(map, eps).

    ``p = 1`` is the average for maps above eps, ``p = inf`` the maximum. A tensor holds one exponent, or one for each
    map (C,), is assumed to be positive, and receives a gradient. ``of="probabilities"`` treats the maps as logits:
    x = sigmoid(map), and the score is the logit of the pooled probability.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; p not above 0 or of another shape; eps not above 0;
            an unknown ``of``.

    Source: Radenovic et al., Fine-tuning CNN image retrieval with no human annotation (GeM), TPAMI 2018, equation 3;
    Viola et al., Multiple instance boosting, NIPS 2005 (the generalized mean of probabilities).

    >>> round(gem(torch.tensor([[[3.0, 4.0]]]), p=2).item() ** 2, 4)  # (9 + 16) / 2
    12.5
    """
    check_maps(maps)
    check_choice(of, "of", ("values", "probabilities"))
    dtype, lowest = accumulation_dtype(maps), check_eps(eps)
    if isinstance(p, Tensor):
        check_per_map(p, maps, "p")
        p = p.to(dtype).clamp(_LOWEST, _HIGHEST)
    else:
        p = check_exponent(p)
    if of == "probabilities":
        return _of_probabilities(maps, p)
    if not isinstance(p, Tensor):
        if p > SHARPEST:
            return gmp(maps.clamp(min=lowest))
        p = max(p, FLATTEST)
    return dispatch("power_mean", _power_mean, maps.flatten(-2), p, lowest).to(maps.dtype)


def _power_mean(values: Tensor, p: float | Tensor, eps: float) -> Tensor:
    values = values.to(accumulation_dtype(values)).clamp(min=eps)
    if isinstance(p, Tensor) or p < 1:
        # The power mean of x is the exponential of the log-sum-exp of log(x), which keeps digits for small p.
        return plain_lse(values.log(), p).exp()
    peak = values.detach().amax(-1, keepdim=True)  # as x ** p would overflow
    return peak.squeeze(-1) * (values / peak).pow(p).mean(-1).pow(1 / p)


def _of_probabilities(maps: Tensor, p: float | Tensor) -> Tensor:
    """The logit of the power mean of sigmoid(map).

    1 - mean(x ** p) is computed as the mean of 1 - x ** p, which keeps digits if every x is close to 1.
    """
    if not isinstance(p, Tensor) and p > _HIGHEST:
        return gmp(maps)
    logits = maps.flatten(-2).to(accumulation_dtype(maps))
    exponent = torch.as_tensor(p, dtype=logits.dtype, device=logits.device)
    log_x = logsigmoid(logits)
    near_one, far = _parts(log_x, exponent[..., None])
    missing = torch.where(near_one, exponent[..., None].log() + logsigmoid(-logits), far)
    peak = missing.detach().amax(-1, keepdim=True)
    log_missing = peak.squeeze(-1) + (missing - peak).exp().mean(-1).log()
    log_mean = lse(log_x.unsqueeze(-2), exponent)
    near_one = log_missing - exponent.log() < _NEAR_ONE
    far = (-torch.expm1(torch.where(near_one, -1, log_mean))).log()
    return (log_mean - torch.where(near_one, log_missing - exponent.log(), far)).to(maps.dtype)


def _parts(log_x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """A mask of x ** p close to 1, and log(1 - x ** p) elsewhere."""
    near_one = p * log_x > -math.exp(_NEAR_ONE)
    return near_one, (-torch.expm1(torch.where(near_one, -1, p * log_x))).log()


class GeM(Pooling):
    """Power-average pooling: mean(x ** p) ** (1 / p) of each map, p = 1 the average, p = inf the maximum.

    With ``learnable`` the exponent starts at p and is trained; it is stored as its logarithm, the parameter ``log_p``,
    which keeps it positive. With ``classes`` each map has its own exponent ("auto": the head's number).

    Values below ``eps`` count as eps, so negative values of a map neither affect the score nor receive a gradient. For
    signed maps, such as class maps, use ``of="probabilities"``: see `gem`.

    >>> GeM()
    gem(p=3)
    >>> GeM(p=1, learnable=True, classes=2).exponent
    [1.0, 1.0]
    """

    def __init__(
        self,
        p: float = 3.0,
        *,
        learnable: bool = False,
        classes: int | str | None = None,
        of: Of = "values",
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_choice(of, "of", ("values", "probabilities"))
        self.of: Of = of
        self.p, self.eps = check_exponent(p), check_eps(eps)
        self.learnable, self.classes = check_learnable(learnable, classes)
        if learnable and not _LOWEST <= self.p <= _HIGHEST:
            raise ValueError(f"p is {p}, a limit that cannot be learnt from: start at p=3")
        shape = () if self.classes is None else (self.classes,)
        self.log_p = nn.Parameter(torch.full(shape, math.log(self.p))) if learnable else None

    @property
    def for_signed_maps(self) -> str | None:
        """The argument that is required for signed maps; None if it is set."""
        return "of=probabilities" if self.of == "values" else None

    @property
    def exponent(self) -> float | list[float]:
        """The current p; a list if each map has its own."""
        return self.p if self.log_p is None else self.log_p.detach().double().exp().tolist()

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `gem`."""
        return gem(maps, self._exponent(), of=self.of, eps=self.eps)

    def weights(self, maps: Tensor) -> Tensor:
        """The gradient.

        With ``of="values"`` it is 1/n * (x / score) ** (p - 1), and 0 below eps. A power mean is homogeneous, so the
        sum of weight times value is the score (Euler's theorem).
        """
        check_maps(maps)
        wide, p = maps.to(accumulation_dtype(maps)), self._exponent()
        values = self.of == "values"
        if not isinstance(p, Tensor) and p > _HIGHEST:
            return selected_weights(maps, 1) * (maps >= self.eps) if values else selected_weights(maps, 1)
        scores = gem(wide, p, of=self.of, eps=self.eps)[..., None, None]
        p = p[..., None, None] if isinstance(p, Tensor) else p
        if values:
            weights = ((p - 1) * (wide.clamp(min=self.eps).log() - scores.log())).exp() * (wide >= self.eps)
        else:
            share = p * (logsigmoid(wide) - logsigmoid(scores))
            weights = (share + logsigmoid(-wide) - logsigmoid(-scores)).exp()
        return (weights * mean_weights(wide)).to(maps.dtype)

    def _exponent(self) -> float | Tensor:
        if self.log_p is None:
            return self.p
        # Not in half precision, where the exponential of a logarithm is off by percents. Clamped before the
        # exponential, because its gradient would be infinite if it overflowed.
        log_p = self.log_p.to(accumulation_dtype(self.log_p))
        return log_p.clamp(math.log(_LOWEST), math.log(_HIGHEST)).exp()
