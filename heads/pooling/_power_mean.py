"""The power mean of rows: an expression, and a kernel for the CPU."""

import torch
from torch import Tensor

from heads.pooling._fused import LOG2_E, Kernel, Setting, chunks
from heads.pooling.lse import plain_lse, precise_log_mean_exp, rows_near_one

# Exponents that need no logarithm.
_WHOLE = (1.0, 2.0, 3.0)


def power_mean(values: Tensor, p: Setting, eps: float) -> Tensor:
    """mean(x ** p) ** (1 / p) of each row, with x = max(value, eps) and 1e-12 <= p <= 1e30.

    Shape:
        (..., n), p a float or a tensor that broadcasts to (...) -> (...).

    >>> power_mean(torch.tensor([[1.0, 7.0], [5.0, 5.0]]), 2.0, 1e-6)
    tensor([5., 5.])
    """
    if torch.compiler.is_compiling():
        return _plain(values, p, eps)
    kernel = Kernel(
        lambda values, p: _plain(values, p, eps),
        lambda rows, p: _forward(rows, p, eps),
        lambda weights, rows, p, scores, _: _gradient(weights, rows, p, scores, eps),
    )
    return kernel(values, p)


def _plain(values: Tensor, p: Setting, eps: float) -> Tensor:
    # By the logarithm, as x ** p would overflow; the power mean of x is the log-sum-exp of log x.
    return plain_lse(values.clamp(min=eps).log(), p).exp()


def _forward(rows: Tensor, p: Setting, eps: float) -> tuple[Tensor, Tensor]:
    """As `_plain`, by the ratios to each row's maximum."""
    peak, mean = rows.new_empty(len(rows), 1), rows.new_empty(len(rows), 1)
    parts = chunks(rows)
    buffer = torch.empty_like(rows[parts[0]])
    for part in parts:
        values, exponent = rows[part], p[part] if isinstance(p, Tensor) else p
        torch.amax(values, -1, keepdim=True, out=peak[part]).clamp_(min=eps)
        powers = _ratios(values, peak[part], eps, buffer[: len(values)])
        if not isinstance(exponent, Tensor) and exponent in _WHOLE:
            powers.pow_(exponent)
        else:
            powers.log2_().mul_(exponent).exp2_()
        torch.mean(powers, -1, keepdim=True, out=mean[part])
    near = rows_near_one(mean)
    soft = mean.log_()
    if len(near):
        one = p[near] if isinstance(p, Tensor) else p
        again = _ratios(rows[near], peak[near], eps, torch.empty_like(rows[near]))
        soft[near] = precise_log_mean_exp(again.log_() * one)
    return soft.div_(p).exp_().mul_(peak), rows.new_empty(0)


def _gradient(weights: Tensor, rows: Tensor, p: Setting, scores: Tensor, eps: float) -> tuple[Tensor, Tensor | None]:
    """1/n * ratio ** (p - 1), with ratio = value / score; of p, score / p * mean(ratio ** p * log(ratio))."""
    of_rows = torch.empty_like(rows)
    of_p = torch.empty_like(scores) if isinstance(p, Tensor) else None
    parts = chunks(rows)
    buffers = torch.empty_like(rows[parts[0]]), torch.empty_like(rows[parts[0]])
    for part in parts:
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
