"""Log-sum-exp pooling: a soft maximum between GAP and GMP."""

import math

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_learnable, check_maps, check_number, check_per_map
from heads.pooling._fused import LOG2_E, Kernel, Setting, chunks
from heads.pooling._pooling import Pooling
from heads.pooling.gap import gap
from heads.pooling.gmp import gmp
from heads.pooling.softpool import softpool_weights

# Beyond these the result is its limit, to the last digit of any map, and 1 / beta could leave float32.
_FLATTEST, _SHARPEST = 1e-12, 1e30
# A mean of powers from here to 1 has too few digits left for its logarithm.
_NEAR_ONE = 0.9


def lse(maps: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """The log-sum-exp of each map: log(mean(exp(beta * map))) / beta.

    ``beta`` is the sharpness: towards 0 the result is GAP's, towards infinity GMP's, and both limits may be
    given. A tensor is one sharpness, or one for each map (C,), taken as positive, and receives its gradient.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of another kind or shape; beta negative, NaN or of another shape.

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
    values = maps.flatten(-2).to(accumulation_dtype(maps))
    return _LSE(values, beta).to(maps.dtype)


def plain_lse(values: Tensor, beta: Setting) -> Tensor:
    """The log-sum-exp of (..., n) with a sharpness that broadcasts to (...), in operations that autograd knows.

    >>> plain_lse(torch.tensor([[2.0, 2.0]]), 4.0)
    tensor([2.])
    """
    peak = values.detach().amax(-1, keepdim=True)
    along = beta[..., None] if isinstance(beta, Tensor) else beta
    return peak.squeeze(-1) + _log_mean_exp(along * (values - peak)) / beta


def _log_mean_exp(values: Tensor) -> Tensor:
    """log(mean(exp(values))) over the last dimension, for values <= 0 of which one is 0.

    Near zero exp and log would lose the digits that a small beta leaves; expm1 and log1p keep them, and lose
    others where the mean of exp is small.
    """
    shortfall = values.expm1().mean(-1)
    return torch.where(shortfall > -0.5, shortfall.log1p(), values.exp().mean(-1).log())


def _forward(rows: Tensor, beta: Setting) -> tuple[Tensor, Tensor]:
    """As `plain_lse`."""
    peak, mean = rows.new_empty(len(rows), 1), rows.new_empty(len(rows), 1)
    parts = chunks(rows)
    buffer = torch.empty_like(rows[parts[0]])
    factor = beta * LOG2_E
    for part in parts:
        values = rows[part]
        torch.amax(values, -1, keepdim=True, out=peak[part])
        powers = torch.sub(values, peak[part], out=buffer[: len(values)])
        powers.mul_(factor[part] if isinstance(factor, Tensor) else factor).exp2_()
        torch.mean(powers, -1, keepdim=True, out=mean[part])
    near = rows_near_one(mean)
    soft = mean.log_()
    if len(near):
        one = beta[near] if isinstance(beta, Tensor) else beta
        soft[near] = precise_log_mean_exp((rows[near] - peak[near]) * one)
    return soft.div_(beta).add_(peak), rows.new_empty(0)


def rows_near_one(mean: Tensor) -> Tensor:
    """The rows whose mean power is so near 1 that its logarithm needs `precise_log_mean_exp`."""
    return (mean > _NEAR_ONE).view(-1).nonzero().view(-1)


def precise_log_mean_exp(values: Tensor) -> Tensor:
    """As `_log_mean_exp`, in float64, where expm1 is slow and float32 needs none: the first two moments serve."""
    if values.dtype == torch.float64:
        return _log_mean_exp(values).unsqueeze(-1)
    wide = values.double()
    first = wide.mean(-1, keepdim=True)
    second = wide.square().mean(-1, keepdim=True) - first.square()
    of_powers = wide.mul_(LOG2_E).exp2_().mean(-1, keepdim=True).log_()
    return torch.where(values.amin(-1, keepdim=True) > -1e-4, first + second / 2, of_powers).to(values.dtype)


def _gradient(weights: Tensor, rows: Tensor, beta: Setting, scores: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None]:
    """The softmax of beta times each row; of beta, (its mean - score) / beta."""
    of_rows = torch.empty_like(rows)
    of_beta = torch.empty_like(scores) if isinstance(beta, Tensor) else None
    parts = chunks(rows)
    buffer = torch.empty_like(rows[parts[0]])
    factor = beta * LOG2_E
    for part in parts:
        above = torch.sub(rows[part], scores[part], out=of_rows[part])
        powers = buffer[: len(above)]
        torch.mul(above, factor[part] if isinstance(factor, Tensor) else factor, out=powers).exp2_()
        shares = weights[part] / powers.sum(-1, keepdim=True)
        if of_beta is not None:
            of_beta[part] = above.mul_(powers).sum(-1, keepdim=True) * shares
        torch.mul(powers, shares, out=above)
    return of_rows, None if of_beta is None else of_beta.div_(beta)


_LSE = Kernel(plain_lse, _forward, _gradient)


def _check_beta(beta: float) -> float:
    beta = check_number(beta, "beta")
    if beta <= -_FLATTEST:
        raise ValueError(f"beta is {beta}, expected a sharpness of 0 or more: try beta=1")
    return abs(beta)


class LSE(Pooling):
    """Log-sum-exp pooling: a soft maximum of sharpness beta, between GAP (0) and GMP (inf).

    With ``learnable`` the sharpness starts at beta and is trained; it is kept as its logarithm, the parameter
    ``log_beta``, and so stays positive. With ``classes`` each map has a sharpness of its own ("auto": a head gives
    the number). The repr tells how the module was made, `sharpness` where it stands.

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
        """The beta in use, learnt or as given; a list where each map has its own."""
        return self.beta if self.log_beta is None else self.log_beta.detach().double().exp().tolist()

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `lse`."""
        return lse(maps, self._beta())

    def weights(self, maps: Tensor) -> Tensor:
        """The softmax of beta times each map, which is the gradient; the limits are those of GAP and GMP."""
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
        # Not in half precision, where the exponential of a logarithm is off by percents; and the clamp of lse
        # would come too late for the gradient of an exponential that has overflown.
        log_beta = self.log_beta.to(accumulation_dtype(self.log_beta))
        return log_beta.clamp(math.log(_FLATTEST), math.log(_SHARPEST)).exp()
