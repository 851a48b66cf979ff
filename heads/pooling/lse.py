"""Log-sum-exp pooling: a soft maximum between GAP and GMP."""

import math

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_learnable, check_maps, check_number, check_per_map
from heads.kernels import dispatch
from heads.pooling._pooling import Pooling
from heads.pooling.gap import gap
from heads.pooling.gmp import gmp
from heads.pooling.softpool import softpool_weights

# Beyond these the result equals its limit to the last digit of any map, and 1 / beta could leave float32.
_FLATTEST, _SHARPEST = 1e-12, 1e30


def lse(maps: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """The log-sum-exp of each map: log(mean(exp(beta * map))) / beta.

    ``beta`` is the sharpness: 0 is GAP, infinity is GMP. A tensor holds one sharpness, or one for each map (C,), is
    assumed to be positive, and receives a gradient.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of the wrong type or shape; beta negative, NaN or of another shape.

    Source: Pinheiro and Collobert, From image-level to pixel-level labeling, CVPR 2015, equation 3.

    >>> import torch
    >>> maps = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    >>> [round(lse(maps, beta).item(), 3) for beta in (0, 0.1, 1, 10, float("inf"))]
    [3.0, 3.182, 4.686, 5.861, 6.0]
    """
    check_maps(maps)
    if isinstance(beta, Tensor):
        check_per_map(beta, maps, "beta")
        beta = beta.to(accumulation_dtype(maps)).clamp(_FLATTEST, _SHARPEST)
    else:
        beta = _check_beta(beta)
        if beta < _FLATTEST:
            return gap(maps)
        if beta > _SHARPEST:
            return gmp(maps)
    return dispatch("lse", plain_lse, maps.flatten(-2), beta).to(maps.dtype)


def plain_lse(values: Tensor, beta: float | Tensor) -> Tensor:
    """The log-sum-exp of (..., n) with a sharpness that broadcasts to (...), in `accumulation_dtype`.

    >>> plain_lse(torch.tensor([[2.0, 2.0]]), 4.0)
    tensor([2.])
    """
    values = values.to(accumulation_dtype(values))
    peak = values.detach().amax(-1, keepdim=True)
    below = (beta[..., None] if isinstance(beta, Tensor) else beta) * (values - peak)
    soft = below.exp().mean(-1).log()
    if isinstance(beta, Tensor) or beta <= 1:
        # For values near zero, as with a small beta, expm1 and log1p keep digits that exp and log would lose; they lose
        # digits if the mean of exp is small.
        shortfall = below.expm1().mean(-1)
        soft = torch.where(shortfall > -0.5, shortfall.log1p(), soft)
    return peak.squeeze(-1) + soft / beta


def _check_beta(beta: float) -> float:
    beta = check_number(beta, "beta")
    if beta <= -_FLATTEST:
        raise ValueError(f"beta is {beta}, expected a sharpness of 0 or more: try beta=1")
    return abs(beta)


class LSE(Pooling):
    """Log-sum-exp pooling: a soft maximum of sharpness beta, between GAP (0) and GMP (inf).

    With ``learnable`` the sharpness starts at beta and is trained; it is stored as its logarithm, the parameter
    ``log_beta``, which keeps it positive. With ``classes`` each map has its own sharpness ("auto": the head's number).
    The repr shows the initial value, `sharpness` the current one.

    >>> LSE(beta=4)
    lse(beta=4)
    >>> LSE(beta=1, learnable=True).sharpness
    1.0
    """

    def __init__(self, beta: float = 1.0, *, learnable: bool = False, classes: int | str | None = None) -> None:
        super().__init__()
        self.beta = _check_beta(beta)
        self.learnable, self.classes = check_learnable(learnable, classes)
        if learnable and not _FLATTEST <= self.beta <= _SHARPEST:
            raise ValueError(f"beta is {beta}, a limit that cannot be learnt from: start at beta=1")
        shape = () if self.classes is None else (self.classes,)
        self.log_beta = nn.Parameter(torch.full(shape, math.log(self.beta))) if learnable else None

    @property
    def sharpness(self) -> float | list[float]:
        """The current beta; a list if each map has its own."""
        return self.beta if self.log_beta is None else self.log_beta.detach().double().exp().tolist()

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `lse`."""
        return lse(maps, self._beta())

    def weights(self, maps: Tensor) -> Tensor:
        """The softmax of beta times each map: the gradient. The limits are those of GAP and GMP."""
        check_maps(maps)
        beta = self._beta()
        if not isinstance(beta, Tensor):
            return softpool_weights(maps, beta)
        check_per_map(beta, maps, "beta")
        logits = maps.flatten(-2).to(accumulation_dtype(maps))
        sharpened = beta[..., None] * (logits - logits.amax(-1, keepdim=True))
        return sharpened.softmax(-1).to(maps.dtype).reshape(maps.shape)

    def _beta(self) -> float | Tensor:
        if self.log_beta is None:
            return self.beta
        # Not in half precision, where the exponential of a logarithm is off by percents. Clamped here, because the
        # clamp of lse would come too late for the gradient of an exponential that has overflowed.
        log_beta = self.log_beta.to(accumulation_dtype(self.log_beta))
        return log_beta.clamp(math.log(_FLATTEST), math.log(_SHARPEST)).exp()
