"""Linear probes: class scores from fixed features by logistic regression, fitted at once instead of in epochs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from wsl.errors import UserError

START = -3.0
"""The bias that a fit starts from, and that of a class that nothing is known of: most images have few classes."""

_COLUMNS = 256


class LogisticFit(NamedTuple):
    """Scores of features: ``features @ weight.T + bias``.

    ``fitted`` says which classes had images both with and without them. The others have a weight of 0: their score is
    the same for every image.

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
    """Fit one logistic regression a class on standardised features, all classes at once, by L-BFGS.

    The objective is the sum over classes of ``mean(BCE(z @ w + b, targets)) + penalty / 2 * |w|^2``, the mean over the
    images whose entry in ``mask`` is true, and ``z`` the features less their means over all images, divided by their
    standard deviations. The bias has no penalty. With n images, all known, this is scikit-learn's
    ``LogisticRegression(C=1 / (penalty * n))`` behind its ``StandardScaler``. The weights returned are those of the
    features as they are given. A feature that does not vary has a weight of 0.

    A class that has no image with it, or none without it, is not fitted: its weight is 0, and its bias the log-odds of
    its frequency, counting one image more that has the class with the probability of a bias of `START`.

    It starts at weights of 0 and stops after ``iterations`` steps, or when they change nothing. The products of
    features are float32 (float64 of such features), the rest is float64 where the device has it. The same input gives
    the same result.

    Shape:
        ``features`` (N, D), ``targets`` (N, K) of values in [0, 1] and ``mask`` (N, K), bool; None takes all as known.
        The result has the features' dtype, float32 for those of lower precision, and their device.

    Raises:
        UserError: shapes do not agree, there is no image or feature, a feature is not finite, a known target is
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
        # Where nothing is known the target may be anything, NaN included.
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
            "(N, K) of at least one image and feature"
        )
    if mask is not None and (mask.shape != targets.shape or mask.dtype != torch.bool):
        raise UserError(f"the mask is {tuple(mask.shape)}, {mask.dtype}, expected bool {tuple(targets.shape)}")
    if not penalty > 0 or math.isinf(penalty) or iterations < 1:
        raise UserError(f"penalty {penalty}, iterations {iterations}: expected more than 0, and 1 or more")
    if not features.isfinite().all():
        raise UserError("features hold NaN or infinite values, expected finite ones")
    # NaN compares as outside, too.
    outside = ~((targets >= 0) & (targets <= 1))
    if (outside if mask is None else outside & mask.to(targets.device)).any():
        raise UserError("a known target is outside [0, 1]: expected 0, 1, or a mask that leaves it out")


def _standardise(features: Tensor, product: torch.dtype, exact: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Features of zero mean and unit deviation, their means, and the factors; 0 where only rounding makes one vary."""
    standardised = torch.empty_like(features, dtype=product)
    means, scales = [], []
    # Column by column in effect: a copy of all in float64 would take twice the memory of the features.
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
    """The weights (K, D) and biases (K,) of standardised features; ``shares`` (N, K) weigh the images of each class."""
    weight = targets.new_zeros(targets.shape[1], features.shape[1])
    bias = targets.new_full((targets.shape[1],), START)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        # A step takes one evaluation nearly always; this stops none.
        max_eval=10 * iterations,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        scores = (features @ weight.to(features.dtype).T).to(targets.dtype) + bias
        losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        # The gradients of scores, written out: those of autograd would be the same products.
        errors = (scores.sigmoid() - targets) * shares
        weight.grad = (errors.to(features.dtype).T @ features).to(targets.dtype) + penalty * weight
        bias.grad = errors.sum(0)
        return (losses * shares).sum() + penalty / 2 * weight.square().sum()

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return weight, bias
