"""Linear probes: class scores from fixed features by logistic regression, fitted by L-BFGS instead of in epochs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wsl.errors import UserError

START = -3.0
"""The bias at the start of a fit, and for a class without known labels: most images show few classes."""

_COLUMNS = 256


class LogisticFit(NamedTuple):
    """A linear model of scores: ``features @ weight.T + bias``.

    ``fitted`` is True for classes that had images both with and without them. The others have weights of 0, so their
    score is the same for every image.

    Shape:
        ``weight`` (K, D), ``bias`` (K,) and ``fitted`` (K,), bool.
    """

    weight: Tensor
    bias: Tensor
    fitted: Tensor


def fit_logistic(
    features: Tensor,
    targets: Tensor,
    mask: Tensor | None = None,
    *,
    penalty: float = 0.02,
    iterations: int = 40,
) -> LogisticFit:
    """Fit a logistic regression for each class on standardised features, all classes at once, by L-BFGS.

    The objective is the sum over classes of ``mean(BCE(z @ w + b, targets)) + penalty / 2 * |w|^2``, where the mean is
    over the images whose entry in ``mask`` is True, and ``z`` are the features minus their means over all images,
    divided by their standard deviations. The bias is not penalised. With n images, all known, this equals
    scikit-learn's ``LogisticRegression(C=1 / (penalty * n))`` after its ``StandardScaler``. The returned weights apply
    to the original features. A constant feature has a weight of 0.

    A class without positive or without negative images is not fitted: its weights are 0, and its bias is the log-odds
    of its frequency, which includes one additional image that has the class with the probability ``sigmoid(START)``.

    The fit starts at weights of 0 and stops after ``iterations`` steps, or when they no longer change anything.
    Products of features are computed in float32 (float64 for float64 features), everything else in float64 if the
    device supports it. The same input gives the same result.

    Shape:
        ``features`` (N, D), ``targets`` (N, K) with values in [0, 1] and ``mask`` (N, K), bool; None means that all are
        known. The result has the device and the dtype of the features, or float32 for dtypes of lower precision.

    Raises:
        UserError: the shapes do not match, there are no images or features, a feature is not finite, a known target is
            outside [0, 1], or a setting is out of range.

    Source: Liu & Nocedal, On the Limited Memory BFGS Method for Large Scale Optimization, 1989.

    >>> features = torch.tensor([[0.0, 5], [1, 5], [2, 5], [3, 5]])
    >>> fit = fit_logistic(features, torch.tensor([[0.0, 0], [0, 0], [1, 0], [1, 0]]), iterations=100)
    >>> (features @ fit.weight.T + fit.bias)[:, 0].sigmoid().round().tolist(), fit.weight[:, 1].tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.0])
    >>> fit.fitted.tolist()
    [True, False]
    """
    _check(features, targets, mask, penalty, iterations)
    with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
        targets = targets.to(features.device)
        known = torch.ones_like(targets, dtype=torch.bool) if mask is None else mask.to(features.device)
        product = torch.float64 if features.dtype == torch.float64 else torch.float32
        exact = torch.float32 if features.device.type == "mps" else torch.float64
        # Unknown targets may have any value, including NaN.
        truth = torch.where(known, targets.to(exact), 0)
        counts, positives = known.sum(0).to(exact), truth.sum(0)
        fitted = (positives > 0) & (positives < counts)
        standardised, mean, scale = _standardise(features, product, exact)
        weight = mean.new_zeros(targets.shape[1], features.shape[1])
        seen = torch.sigmoid(torch.tensor(START))
        bias = ((positives + seen) / (counts + 1)).logit()
        if fitted.any():
            own = truth[:, fitted], known[:, fitted] / counts[fitted]
            weight[fitted], bias[fitted] = _minimise(standardised, *own, penalty=penalty, iterations=iterations)
        weight *= scale
        bias -= weight @ mean
        return LogisticFit(weight.to(product), bias.to(product), fitted)


def _check(features: Tensor, targets: Tensor, mask: Tensor | None, penalty: float, iterations: int) -> None:
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets) or not features.numel():
        raise UserError(
            f"features have shape {tuple(features.shape)} and targets {tuple(targets.shape)}, expected (N, D) and "
            "(N, K) with at least one image and feature"
        )
    if mask is not None and (mask.shape != targets.shape or mask.dtype != torch.bool):
        raise UserError(f"the mask is {tuple(mask.shape)}, {mask.dtype}, expected bool {tuple(targets.shape)}")
    if not penalty > 0 or math.isinf(penalty) or iterations < 1:
        raise UserError(f"penalty {penalty}, iterations {iterations}: expected above 0, and at least 1")
    if not features.isfinite().all():
        raise UserError("the features contain NaN or infinite values, expected finite ones")
    # NaN counts as outside.
    outside = ~((targets >= 0) & (targets <= 1))
    if (outside if mask is None else outside & mask.to(targets.device)).any():
        raise UserError("a known target is outside [0, 1]: expected 0, 1, or a mask that leaves it out")


def _standardise(features: Tensor, product: torch.dtype, exact: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Features with zero mean and unit deviation, the means, and the scales; 0 where only rounding varies."""
    standardised = torch.empty_like(features, dtype=product)
    means, scales = [], []
    # In blocks of columns: a float64 copy of everything would take twice the memory of the features.
    for columns, result in zip(torch.split(features, _COLUMNS, 1), torch.split(standardised, _COLUMNS, 1), strict=True):
        values = columns.to(exact)
        deviation, mean = torch.std_mean(values, 0, correction=0)
        scale = torch.where(deviation > 1e-6 * values.abs().amax(0), 1 / deviation, 0)
        result.copy_((values - mean) * scale)
        means.append(mean)
        scales.append(scale)
    return standardised, torch.cat(means), torch.cat(scales)


def _minimise(
    features: Tensor, targets: Tensor, shares: Tensor, *, penalty: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """The weights (K, D) and biases (K,) for standardised features; `shares` (N, K) weigh the images of each class."""
    weight = targets.new_zeros(targets.shape[1], features.shape[1])
    bias = targets.new_full((targets.shape[1],), START)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        # A step nearly always takes one evaluation, so this limit is never reached.
        max_eval=10 * iterations,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        scores = (features @ weight.to(features.dtype).T).to(targets.dtype) + bias
        losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        # The gradients are written out; autograd would compute the same products.
        errors = (scores.sigmoid() - targets) * shares
        weight.grad = (errors.to(features.dtype).T @ features).to(targets.dtype) + penalty * weight
        bias.grad = errors.sum(0)
        return (losses * shares).sum() + penalty / 2 * weight.square().sum()

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return weight, bias
