"""Power-average pooling, GeM: from the average to the maximum by one exponent."""

import math

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_learnable, check_maps, check_number, check_per_map
from heads.pooling._fused import LOG2_E, Kernel, Setting, chunks
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import FLATTEST, SHARPEST
from heads.pooling.gmp import gmp
from heads.pooling.lse import log_mean, plain_lse, precise_log_mean_exp

# Beyond these the result is its limit, and exp(log p) could leave the range of floats.
_LOWEST, _HIGHEST = 1e-6, 1e6
# Exponents that need no logarithm.
_WHOLE = (1.0, 2.0, 3.0)


def gem(maps: Tensor, p: float | Tensor = 3.0, *, eps: float = 1e-6) -> Tensor:
    """The power mean of each map: mean(x ** p) ** (1 / p), with x = max(map, eps).

    ``p = 1`` is the average of maps above eps, towards infinity it is the maximum (which may be given). A tensor is
    one exponent, or one for each map (C,), taken as positive, and receives its gradient.

    Shape:
        (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    Raises:
        TypeError, ValueError: ``maps`` of another kind or shape; p not above 0 or of another shape; eps not above 0.

    Source: Radenovic et al., Fine-tuning CNN image retrieval with no human annotation (GeM), TPAMI 2018, equation 3.

    >>> round(gem(torch.tensor([[[3.0, 4.0]]]), p=2).item() ** 2, 4)  # (9 + 16) / 2
    12.5
    """
    check_maps(maps)
    eps = _check_eps(eps)
    values = maps.flatten(-2).to(accumulation_dtype(maps))
    if isinstance(p, Tensor):
        check_per_map(p, maps, "p")
        p = p.to(values.dtype).clamp(_LOWEST, _HIGHEST)
    else:
        p = _check_p(p)
        if p > SHARPEST:
            return gmp(maps.clamp(min=eps))
        p = max(p, FLATTEST)
    return _kernel(eps)(values, p).to(maps.dtype)


def _kernel(eps: float) -> Kernel:
    return Kernel(
        lambda values, p: _plain(values, p, eps),
        lambda rows, p: _forward(rows, p, eps),
        lambda weights, rows, p, scores, _: _gradient(weights, rows, p, scores, eps),
    )


def _plain(values: Tensor, p: Setting, eps: float) -> Tensor:
    # By the logarithm, as x ** p would overflow; the power mean of x is the log-sum-exp of log x.
    return plain_lse(values.clamp(min=eps).log(), p).exp()


def _forward(rows: Tensor, p: Setting, eps: float) -> tuple[Tensor, Tensor]:
    """As `_plain`, by the ratios to each row's maximum."""
    scores = rows.new_empty(len(rows), 1)
    buffer = torch.empty_like(rows[chunks(rows)[0]])
    for part in chunks(rows):
        values, exponent = rows[part], p[part] if isinstance(p, Tensor) else p
        peak = values.amax(-1, keepdim=True).clamp_(min=eps)
        ratios = _ratios(values, peak, eps, buffer[: len(values)])
        if not isinstance(exponent, Tensor) and exponent in _WHOLE:
            powers = ratios.pow_(exponent)
        else:
            powers = ratios.log2_().mul_(exponent).exp2_()
        soft, near = log_mean(powers)
        if len(near):
            one = exponent[near] if isinstance(exponent, Tensor) else exponent
            again = _ratios(values[near], peak[near], eps, torch.empty_like(values[near]))
            soft[near] = precise_log_mean_exp(again.log_() * one)
        scores[part] = peak * (soft / exponent).exp()
    return scores, rows.new_empty(0)


def _gradient(weights: Tensor, rows: Tensor, p: Setting, scores: Tensor, eps: float) -> tuple[Tensor, Tensor | None]:
    """1/n * ratio ** (p - 1), with ratio = value / score; of p, score / p * mean(ratio ** p * log(ratio))."""
    of_rows = torch.empty_like(rows)
    of_p = torch.empty_like(scores) if isinstance(p, Tensor) else None
    buffers = torch.empty_like(rows[chunks(rows)[0]]), torch.empty_like(rows[chunks(rows)[0]])
    for part in chunks(rows):
        values, exponent = rows[part], p[part] if isinstance(p, Tensor) else p
        slopes = of_rows[part]
        ratios, logs = (buffer[: len(values)] for buffer in buffers)
        if not isinstance(exponent, Tensor) and exponent in _WHOLE:
            _ratios(values, scores[part], eps, slopes).pow_(exponent - 1)
            shares = weights[part] / rows.shape[-1]
        else:
            torch.log2(_ratios(values, scores[part], eps, ratios), out=logs)
            torch.mul(logs, exponent, out=slopes).exp2_()
            shares = weights[part] / slopes.sum(-1, keepdim=True)
            if of_p is not None:
                mean = logs.mul_(slopes).sum(-1, keepdim=True) * shares / LOG2_E
                of_p[part] = scores[part] / exponent * mean
            slopes.div_(ratios)
        slopes.mul_(torch.ge(values, eps, out=logs)).mul_(shares)
    return of_rows, of_p


def _ratios(values: Tensor, unit: Tensor, eps: float, out: Tensor) -> Tensor:
    """max(values, eps) / unit, and above 0 even where that is less than the smallest float."""
    least = (eps / unit).clamp_(min=torch.finfo(values.dtype).tiny)
    return torch.div(values, unit, out=out).clamp_(min=least)


def _check_p(p: object) -> float:
    number = check_number(p, "p")
    if number <= 0:
        raise ValueError(f"p is {number}, expected an exponent above 0: try p=3")
    return number


def _check_eps(eps: object) -> float:
    number = check_number(eps, "eps")
    if not 0 < number < math.inf:
        raise ValueError(f"eps is {number}, expected a small number above 0: try eps=1e-6")
    return number


class GeM(Pooling):
    """Power-average pooling: mean(x ** p) ** (1 / p) of each map, p = 1 the average, p = inf the maximum.

    With ``learnable`` the exponent starts at p and is trained; it is kept as its logarithm, the parameter ``log_p``,
    and so stays positive. With ``classes`` each map has an exponent of its own ("auto": a head gives the number).

    Values below ``eps`` count as eps: meant for maps of 0 or more, it sees nothing of how negative a map is.

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
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.p, self.eps = _check_p(p), _check_eps(eps)
        self.learnable, self.classes = check_learnable(learnable, classes)
        if learnable and not _LOWEST <= self.p <= _HIGHEST:
            raise ValueError(f"p is {p}, a limit that cannot be learnt from: start at p=3")
        shape = () if self.classes is None else (self.classes,)
        self.log_p = nn.Parameter(torch.full(shape, math.log(self.p))) if learnable else None

    @property
    def exponent(self) -> float | list[float]:
        """The p in use, learnt or as given; a list where each map has its own."""
        return self.p if self.log_p is None else self.log_p.detach().double().exp().tolist()

    def forward(self, maps: Tensor) -> Tensor:
        """Class maps to scores: see `gem`."""
        return gem(maps, self._exponent(), eps=self.eps)

    def weights(self, maps: Tensor) -> Tensor:
        """The gradient, 1/n * (x / score) ** (p - 1) and 0 below eps: the sum of weight times value is the score.

        A power mean of k-fold values is k-fold, so its gradient shares it out among them (Euler's theorem).
        """
        check_maps(maps)
        with torch.enable_grad():
            leaf = maps.detach().requires_grad_()
            scores = self(leaf)
            (weights,) = torch.autograd.grad(scores, leaf, torch.ones_like(scores))
        return weights

    def _exponent(self) -> float | Tensor:
        if self.log_p is None:
            return self.p
        # Not in half precision, where the exponential of a logarithm is off by percents; clamped before the
        # exponential, whose gradient would be infinite where it overflows.
        log_p = self.log_p.to(accumulation_dtype(self.log_p))
        return log_p.clamp(math.log(_LOWEST), math.log(_HIGHEST)).exp()
