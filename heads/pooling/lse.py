"""Log-sum-exp pooling: a soft maximum between GAP and GMP."""

import math

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_maps, check_number
from heads.pooling._pooling import Pooling
from heads.pooling.gap import gap
from heads.pooling.gmp import gmp

# Beyond these the result is its limit, to the last digit of any map, and 1 / beta could leave float32.
_FLATTEST, _SHARPEST = 1e-12, 1e30


def lse(maps: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """The log-sum-exp of each map: log(mean(exp(beta * map))) / beta.

    ``beta`` is the sharpness: towards 0 the result is GAP's, towards infinity GMP's, and both limits may be
    given. A scalar tensor is taken as positive and receives its gradient.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of another kind or shape; beta negative, NaN or no scalar.

    Source: Pinheiro and Collobert, From image-level to pixel-level labeling, CVPR 2015, equation 3.

    >>> import torch
    >>> maps = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    >>> [round(lse(maps, beta).item(), 3) for beta in (0, 0.1, 1, 10, float("inf"))]
    [3.0, 3.182, 4.686, 5.861, 6.0]
    """
    check_maps(maps)
    if isinstance(beta, Tensor):
        if beta.ndim != 0 or not beta.is_floating_point():
            raise ValueError(f"beta has shape {tuple(beta.shape)} and {beta.dtype}, expected a floating point scalar")
        beta = beta.to(accumulation_dtype(maps)).clamp(_FLATTEST, _SHARPEST)
    else:
        beta = _check_beta(beta)
        if beta < _FLATTEST:
            return gap(maps)
        if beta > _SHARPEST:
            return gmp(maps)
    values = maps.flatten(-2).to(accumulation_dtype(maps))
    peak = values.detach().amax(-1, keepdim=True)
    scores = peak.squeeze(-1) + _log_mean_exp(beta * (values - peak)) / beta
    return scores.to(maps.dtype)


def _log_mean_exp(values: Tensor) -> Tensor:
    """log(mean(exp(values))) over the last dimension, for values <= 0 of which one is 0.

    Near zero exp and log would lose the digits that a small beta leaves; expm1 and log1p keep them, and lose
    others where the mean of exp is small.
    """
    shortfall = values.expm1().mean(-1)
    return torch.where(shortfall > -0.5, shortfall.log1p(), values.exp().mean(-1).log())


def _check_beta(beta: float) -> float:
    beta = check_number(beta, "beta")
    if beta <= -_FLATTEST:
        raise ValueError(f"beta is {beta}, expected a sharpness of 0 or more: try beta=1")
    return abs(beta)


class LSE(Pooling):
    """Log-sum-exp pooling: a soft maximum of sharpness beta, between GAP (0) and GMP (inf).

    With ``learnable`` the sharpness starts at beta and is trained; it is kept as its logarithm, the parameter
    ``log_beta``, and so stays positive. The repr tells how the module was made, `sharpness` where it stands.

    >>> LSE(beta=4)
    lse(beta=4)
    >>> LSE(beta=1, learnable=True).sharpness
    1.0
    """

    def __init__(self, beta: float = 1.0, *, learnable: bool = False) -> None:
        super().__init__()
        if not isinstance(learnable, bool):
            raise TypeError(f"learnable is {learnable!r}, expected True or False")
        self.beta = _check_beta(beta)
        self.learnable = learnable
        if learnable and not _FLATTEST <= self.beta <= _SHARPEST:
            raise ValueError(f"beta is {beta}, a limit that cannot be learnt from: start at beta=1")
        self.log_beta = nn.Parameter(torch.tensor(math.log(self.beta))) if learnable else None

    @property
    def sharpness(self) -> float:
        """The beta in use: learnt, or as given."""
        return self.beta if self.log_beta is None else math.exp(self.log_beta.item())

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `lse`."""
        if self.log_beta is None:
            return lse(maps, self.beta)
        # Not in half precision, where the exponential of a logarithm is off by percents; and the clamp of lse
        # would come too late for the gradient of an exponential that has overflown.
        log_beta = self.log_beta.to(accumulation_dtype(self.log_beta))
        return lse(maps, log_beta.clamp(math.log(_FLATTEST), math.log(_SHARPEST)).exp())
