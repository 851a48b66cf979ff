"""Logistic regression of one class by Newton's method, in double precision."""

import numpy as np


def newton(features, targets, penalty, mean, scale, steps=50):
    """The weights and the bias of features as given, of the objective over standardised ones.

    ``features`` (n, D) and ``targets`` (n,) are those of the images known; ``mean`` and ``scale`` (D,) standardise.
    """
    known = np.hstack(
        [(features.astype(np.float64) - mean) / np.where(scale > 0, scale, np.inf), np.ones((len(features), 1))]
    )
    ridge = penalty * np.diag([1.0] * features.shape[1] + [0.0])
    found = np.zeros(features.shape[1] + 1)
    for _ in range(steps):
        probability = 1 / (1 + np.exp(-known @ found))
        gradient = known.T @ (probability - targets) / len(targets) + ridge @ found
        curvature = (known * (probability * (1 - probability))[:, None]).T @ known / len(targets) + ridge
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        length = 1.0
        while objective(known, targets, ridge, found - length * step) > objective(known, targets, ridge, found) + 1e-15:
            length /= 2
            if length < 1e-8:
                break
        found = found - length * step
    weight = found[:-1] / np.where(scale > 0, scale, np.inf)
    return weight, found[-1] - weight @ mean


def objective(known, targets, ridge, found):
    """What is minimised."""
    scores = known @ found
    return np.mean(np.logaddexp(0, scores) - targets * scores) + found @ ridge @ found / 2
