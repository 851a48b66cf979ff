"""LSE, power mean and SoftPool of rows on the CPU.

A plain expression writes and reads a whole tensor in each operation. Here the operations run in place on chunks of rows
that stay in the cache, and the backward pass recomputes what is cheaper to compute than to keep.
"""

import math
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.kernels.function import Kernel

# One number for all rows, or one for each.
Setting: TypeAlias = float | Tensor

# Converts to powers of two, which torch computes three times faster than powers of e.
LOG2_E = 1 / math.log(2)
# Values per thread in a chunk: a few such buffers fit into the outer cache.
_CHUNK = 1 << 18
# Above this, a mean of powers has too few digits left for its logarithm.
_NEAR_ONE = 0.9
# Exponents that need no logarithm.
_WHOLE = (1.0, 2.0, 3.0)


def chunks(rows: Tensor, values: int = _CHUNK) -> list[slice]:
    """Slices of rows with ``values`` values for each thread.

    >>> [chunk.start for chunk in chunks(torch.empty(4, 5), 10 // torch.get_num_threads())]
    [0, 2]
    """
    step = max(1, values * torch.get_num_threads() // rows.shape[-1])
    return [slice(start, start + step) for start in range(0, len(rows), step)]


class _Chunk(NamedTuple):
    """The inputs of the gradient of some rows, two buffers (R, n), and its outputs."""

    weights: Tensor
    rows: Tensor
    setting: Setting
    scores: Tensor
    powers: Tensor
    spare: Tensor
    of_rows: Tensor


class _Rows(Kernel):
    """A pooling of rows in chunks: `pool` and `pull` get one chunk, with buffers of its shape.

    Below ``worthwhile`` values per thread, the calls cost more than they save. ``keeps_powers`` says that the contents
    that `pool` leaves in its buffer are passed to `pull`.
    """

    worthwhile = 1 << 15
    keeps_powers = False

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """Enough values of any floating point dtype."""
        return values.numel() >= self.worthwhile * torch.get_num_threads()

    def prepare(self, values: Tensor) -> Tensor:
        """The values in the dtype of their sums."""
        return values.to(accumulation_dtype(values))

    def forward(self, values: Tensor, setting: Setting, *others: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores (...) of values (..., n)."""
        rows, each = values.reshape(-1, values.shape[-1]), _by_row(setting, values)
        scores, cuts = rows.new_empty(len(rows), 1), chunks(rows)
        buffer = torch.empty_like(rows if self.keeps_powers else rows[cuts[0]])
        for cut in cuts:
            powers = buffer[cut] if self.keeps_powers else buffer[: len(rows[cut])]
            scores[cut] = self.pool(rows[cut], _of(each, cut), powers, *others)
        return scores.view(values.shape[:-1]), (scores, *([buffer] if self.keeps_powers else []))

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], setting: Setting, *others: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of the values and, if it is a tensor, of the setting."""
        rows, each = values.reshape(-1, values.shape[-1]), _by_row(setting, values)
        scores, weights, cuts = kept[0], gradient.reshape(-1, 1), chunks(rows)
        of_rows, of_setting = torch.empty_like(rows), torch.empty_like(scores)
        buffers = [torch.empty_like(rows[cuts[0]]) for _ in range(2)]
        for cut in cuts:
            powers, spare = (buffer[: len(rows[cut])] for buffer in buffers)
            if self.keeps_powers:
                powers = kept[1][cut]
            chunk = _Chunk(weights[cut], rows[cut], _of(each, cut), scores[cut], powers, spare, of_rows[cut])
            slope = self.pull(chunk, *others)
            if slope is not None:
                of_setting[cut] = slope
        if not isinstance(setting, Tensor):
            return of_rows.view(values.shape), None
        return of_rows.view(values.shape), of_setting.view(values.shape[:-1]).sum_to_size(setting.shape)

    def pool(self, rows: Tensor, setting: Setting, powers: Tensor, *others: Any) -> Tensor:
        """Scores (R, 1) of rows (R, n); ``powers`` is a buffer."""
        raise NotImplementedError

    def pull(self, chunk: _Chunk, *others: Any) -> Tensor | None:
        """Fill ``chunk.of_rows`` with the gradient, and return that of the setting if it is a tensor."""
        raise NotImplementedError


class LSE(_Rows):
    """log(mean(exp(beta * x))) / beta; the gradient is the softmax, that of beta (its mean - score) / beta."""

    def pool(self, rows: Tensor, beta: Setting, powers: Tensor, *others: Any) -> Tensor:
        """Scores of rows, relative to each row's maximum."""
        peak = rows.amax(-1, keepdim=True)
        torch.sub(rows, peak, out=powers).mul_(beta * LOG2_E).exp2_()
        mean = powers.mean(-1, keepdim=True)
        near = _near_one(mean)
        soft = mean.log_()
        if len(near):
            soft[near] = _precise_log_mean_exp((rows[near] - peak[near]) * _of(beta, near))
        return soft.div_(beta).add_(peak)

    def pull(self, chunk: _Chunk, *others: Any) -> Tensor | None:
        """The gradients, from powers relative to the scores."""
        weights, rows, beta, scores, powers, _, of_rows = chunk
        above = torch.sub(rows, scores, out=of_rows)
        torch.mul(above, beta * LOG2_E, out=powers).exp2_()
        shares = weights / powers.sum(-1, keepdim=True)
        of_beta = None
        if isinstance(beta, Tensor):
            of_beta = above.mul_(powers).sum(-1, keepdim=True) * shares / beta
        torch.mul(powers, shares, out=of_rows)
        return of_beta


class PowerMean(_Rows):
    """mean(x ** p) ** (1 / p) with x = max(value, eps).

    The gradient is 1/n * ratio ** (p - 1) with ratio = x / score, that of p score / p * mean(ratio ** p * log(ratio)).
    """

    def pool(self, rows: Tensor, p: Setting, powers: Tensor, *others: Any) -> Tensor:
        """Scores of rows, by the ratios to each row's maximum."""
        (eps,) = others
        peak = rows.amax(-1, keepdim=True).clamp_(min=eps)
        _ratios(rows, peak, eps, powers)
        if isinstance(p, Tensor) or p not in _WHOLE:
            powers.log2_().mul_(p).exp2_()
        else:
            powers.pow_(p)
        mean = powers.mean(-1, keepdim=True)
        near = _near_one(mean)
        soft = mean.log_()
        if len(near):
            ratios = _ratios(rows[near], peak[near], eps, torch.empty_like(rows[near]))
            soft[near] = _precise_log_mean_exp(ratios.log_() * _of(p, near))
        return soft.div_(p).exp_().mul_(peak)

    def pull(self, chunk: _Chunk, *others: Any) -> Tensor | None:
        """The gradients, by the ratios to the scores."""
        weights, rows, p, scores, powers, spare, of_rows = chunk
        (eps,) = others
        of_p = None
        if isinstance(p, Tensor) or p not in _WHOLE:
            ratios, logs = powers, spare
            torch.log2(_ratios(rows, scores, eps, ratios), out=logs)
            torch.mul(logs, p, out=of_rows).exp2_()
            shares = weights / of_rows.sum(-1, keepdim=True)
            if isinstance(p, Tensor):
                of_p = scores / p * logs.mul_(of_rows).sum(-1, keepdim=True) * shares / LOG2_E
            of_rows.div_(ratios)
        else:
            _ratios(rows, scores, eps, of_rows).pow_(p - 1)
            shares = weights / rows.shape[-1]
        of_rows.mul_(torch.ge(rows, eps, out=spare)).mul_(shares)
        return of_p


class SoftPool(_Rows):
    """sum(softmax(beta * x) * x); the gradient is softmax * (1 + beta * (x - score)).

    Torch's plain softmax is one fused pass, so this pays off only for more values.
    """

    worthwhile = 1 << 20
    keeps_powers = True

    def pool(self, rows: Tensor, beta: Setting, powers: Tensor, *others: Any) -> Tensor:
        """Scores of rows; leaves the softmax times a constant of each row in ``powers``."""
        torch.sub(rows, rows.amax(-1, keepdim=True), out=powers).mul_(beta * LOG2_E).exp2_()
        return (rows * powers).sum(-1, keepdim=True) / powers.sum(-1, keepdim=True)

    def pull(self, chunk: _Chunk, *others: Any) -> None:
        """The gradient, from the powers that `pool` left."""
        weights, rows, beta, scores, powers, _, of_rows = chunk
        shares = weights * beta / powers.sum(-1, keepdim=True)
        torch.sub(rows, scores - 1 / beta, out=of_rows).mul_(powers).mul_(shares)


def _by_row(setting: Setting, values: Tensor) -> Setting:
    return setting.expand(values.shape[:-1]).reshape(-1, 1) if isinstance(setting, Tensor) else setting


def _of(setting: Setting, rows: slice | Tensor) -> Setting:
    return setting[rows] if isinstance(setting, Tensor) else setting


def _near_one(mean: Tensor) -> Tensor:
    return (mean > _NEAR_ONE).view(-1).nonzero().view(-1)


def _precise_log_mean_exp(values: Tensor) -> Tensor:
    """log(mean(exp(values))) of rows near 0.

    Computed in float64, in which float32 values need no expm1, which is slow; if exp rounds even there, from the first
    two moments.
    """
    if values.dtype == torch.float64:
        return values.expm1().mean(-1, keepdim=True).log1p()
    wide = values.double()
    first = wide.mean(-1, keepdim=True)
    second = wide.square().mean(-1, keepdim=True) - first.square()
    of_powers = wide.mul_(LOG2_E).exp2_().mean(-1, keepdim=True).log_()
    return torch.where(values.amin(-1, keepdim=True) > -1e-4, first + second / 2, of_powers).to(values.dtype)


def _ratios(values: Tensor, unit: Tensor, eps: float, out: Tensor) -> Tensor:
    """max(values, eps) / unit, and above 0 even where that is less than the smallest float."""
    least = (eps / unit).clamp_(min=torch.finfo(values.dtype).tiny)
    return torch.div(values, unit, out=out).clamp_(min=least)
