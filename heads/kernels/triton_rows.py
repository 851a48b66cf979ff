"""LSE, power mean and SoftPool of rows in Triton, forward and backward."""

# Triton does not support annotations.
# mypy: disable-error-code="no-untyped-def,untyped-decorator,no-untyped-call,import-untyped,import-not-found"

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from heads.kernels.triton_launch import TritonRows, load_row, row_shape


@triton.jit
def _log_mean_exp(z, inside, n):
    """log(mean(exp(z))) for z <= 0 with maximum 0, accurate for means close to 1."""
    powers = tl.where(inside, tl.exp(z), 0.0)
    # exp(z) - 1, by its series if the difference would lose digits.
    series = z * (1 + z * (0.5 + z * (0.16666667 + z * (0.041666667 + z * (0.0083333333 + z * 0.0013888889)))))
    shortfall = tl.sum(tl.where(inside, tl.where(z > -0.25, series, powers - 1), 0.0), 0) / n
    # log(1 + shortfall) by the series of 2 * artanh.
    t = shortfall / (2 + shortfall)
    q = t * t
    odd = 1 + q * (0.33333333 + q * (0.2 + q * (0.14285714 + q * (0.11111111 + q * (0.090909091 + q * 0.076923077)))))
    return tl.where(shortfall > -0.5, 2 * t * odd, tl.log(tl.sum(powers, 0) / n))


@triton.jit
def _lse_forward(values, scores, beta, settings, n, LEARNT: tl.constexpr, BLOCK: tl.constexpr):
    x, inside, _ = load_row(values, n, -float("inf"), BLOCK)
    row = tl.program_id(0)
    b = tl.load(beta + row % settings) if LEARNT else beta
    peak = tl.max(x, 0)
    tl.store(scores + row, peak + _log_mean_exp(b * (x - peak), inside, n) / b)


@triton.jit
def _lse_backward(weights, values, of_values, beta, of_beta, settings, n, LEARNT: tl.constexpr, BLOCK: tl.constexpr):
    x, inside, places = load_row(values, n, -float("inf"), BLOCK)
    row = tl.program_id(0)
    b = tl.load(beta + row % settings) if LEARNT else beta
    below = x - tl.max(x, 0)
    powers = tl.where(inside, tl.exp(b * below), 0.0)
    share = tl.load(weights + row) / tl.sum(powers, 0)
    tl.store(of_values + places, powers * share, mask=inside)
    if LEARNT:
        mean = tl.sum(tl.where(inside, powers * below, 0.0), 0) * share
        soft = _log_mean_exp(b * below, inside, n) / b
        tl.store(of_beta + row, (mean - soft * tl.load(weights + row)) / b)


@triton.jit
def _load_logs(values, eps, n, BLOCK: tl.constexpr):
    """log(max(x, eps) / peak) of a row, its peak, and a mask of x >= eps."""
    x, inside, places = load_row(values, n, 0.0, BLOCK)
    x = tl.where(x < eps, eps, x)  # NaN stays NaN
    peak = tl.max(x, 0)
    ratios = x / peak
    return tl.log(tl.where(ratios < 1.2e-38, 1.2e-38, ratios)), peak, inside, places


@triton.jit
def _power_forward(values, scores, p, settings, eps, n, LEARNT: tl.constexpr, BLOCK: tl.constexpr):
    logs, peak, inside, _ = _load_logs(values, eps, n, BLOCK)
    row = tl.program_id(0)
    power = tl.load(p + row % settings) if LEARNT else p
    tl.store(scores + row, peak * tl.exp(_log_mean_exp(power * logs, inside, n) / power))


@triton.jit
def _power_backward(weights, values, of_values, p, of_p, settings, eps, n, LEARNT: tl.constexpr, BLOCK: tl.constexpr):
    logs, peak, inside, places = _load_logs(values, eps, n, BLOCK)
    row = tl.program_id(0)
    power = tl.load(p + row % settings) if LEARNT else p
    soft = _log_mean_exp(power * logs, inside, n) / power
    powers = tl.where(inside, tl.exp(power * logs), 0.0)
    share = tl.load(weights + row) / tl.sum(powers, 0)
    # score / x * x ** p / sum(x ** p), and 0 where x was raised to eps.
    slopes = tl.exp((power - 1) * logs) * (tl.exp(soft) * share)
    x = tl.load(values + places, mask=inside, other=0.0).to(tl.float32)
    tl.store(of_values + places, tl.where(x >= eps, slopes, 0.0), mask=inside)
    if LEARNT:
        mean = tl.sum(powers * tl.where(inside, logs, 0.0), 0) * share
        tl.store(of_p + row, peak * tl.exp(soft) / power * (mean - soft * tl.load(weights + row)))


@triton.jit
def _softpool_forward(values, scores, beta, n, BLOCK: tl.constexpr):
    x, inside, _ = load_row(values, n, -float("inf"), BLOCK)
    peak = tl.max(x, 0)
    below = tl.where(inside, x - peak, 0.0)
    powers = tl.where(inside, tl.exp(beta * below), 0.0)
    tl.store(scores + tl.program_id(0), peak + tl.sum(powers * below, 0) / tl.sum(powers, 0))


@triton.jit
def _softpool_backward(weights, values, of_values, beta, n, BLOCK: tl.constexpr):
    x, inside, places = load_row(values, n, -float("inf"), BLOCK)
    below = tl.where(inside, x - tl.max(x, 0), 0.0)
    powers = tl.where(inside, tl.exp(beta * below), 0.0)
    total = tl.sum(powers, 0)
    mean = tl.sum(powers * below, 0) / total
    share = tl.load(weights + tl.program_id(0)) / total
    tl.store(of_values + places, powers * share * (1 + beta * (below - mean)), mask=inside)


class LSE(TritonRows):
    """log(mean(exp(beta * x))) / beta; the gradient is the softmax, that of beta (its mean - score) / beta."""

    example = (2.0,)

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores of rows."""
        beta, period, learnt = _setting(settings[0])
        n, scores = values.shape[-1], _scores(values)
        with torch.cuda.device_of(values):
            _lse_forward[(scores.numel(),)](values, scores, beta, period, n, LEARNT=learnt, **row_shape(n))
        return scores, ()

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of the values and of a beta that is a tensor."""
        beta, period, learnt = _setting(settings[0])
        n, weights, of_values = values.shape[-1], gradient.contiguous(), torch.empty_like(values)
        of_beta = torch.empty_like(weights) if learnt else of_values
        _lse_backward[(weights.numel(),)](
            weights, values, of_values, beta, of_beta, period, n, LEARNT=learnt, **row_shape(n)
        )
        return of_values, of_beta.sum_to_size(settings[0].shape) if learnt else None


class PowerMean(TritonRows):
    """mean(x ** p) ** (1 / p) with x = max(value, eps)."""

    example = (3.0, 1e-6)

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores of rows."""
        p, period, learnt = _setting(settings[0])
        n, scores = values.shape[-1], _scores(values)
        with torch.cuda.device_of(values):
            _power_forward[(scores.numel(),)](values, scores, p, period, settings[1], n, LEARNT=learnt, **row_shape(n))
        return scores, ()

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, Tensor | None]:
        """The gradients of the values and of a p that is a tensor."""
        p, period, learnt = _setting(settings[0])
        n, weights, of_values = values.shape[-1], gradient.contiguous(), torch.empty_like(values)
        of_p = torch.empty_like(weights) if learnt else of_values
        _power_backward[(weights.numel(),)](
            weights, values, of_values, p, of_p, period, settings[1], n, LEARNT=learnt, **row_shape(n)
        )
        return of_values, of_p.sum_to_size(settings[0].shape) if learnt else None


class SoftPool(TritonRows):
    """sum(softmax(beta * x) * x); the gradient is softmax * (1 + beta * (x - score))."""

    example = (1.0,)

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Scores of rows."""
        n, scores = values.shape[-1], _scores(values)
        with torch.cuda.device_of(values):
            _softpool_forward[(scores.numel(),)](values, scores, settings[0], n, **row_shape(n))
        return scores, ()

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """The gradient of the values."""
        n, weights, of_values = values.shape[-1], gradient.contiguous(), torch.empty_like(values)
        _softpool_backward[(weights.numel(),)](weights, values, of_values, settings[0], n, **row_shape(n))
        return of_values, None


def _scores(values: Tensor) -> Tensor:
    return torch.empty(values.shape[:-1], dtype=torch.float32, device=values.device)


def _setting(setting: float | Tensor) -> tuple[float | Tensor, int, bool]:
    """A number, or the tensor of numbers of consecutive rows; how many there are, and whether it is a tensor."""
    if isinstance(setting, Tensor):
        return setting.contiguous(), setting.numel(), True
    return setting, 1, False
