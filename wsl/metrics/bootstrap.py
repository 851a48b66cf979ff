"""The Poisson bootstrap: how much a metric varies between samples of images."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError

REPLICATES = 1000
"""Default number of resampled data sets for an interval."""

HIGHEST_WEIGHT = 12
"""An image is never drawn more often than this."""

Weights = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]


@functools.lru_cache(maxsize=4096)
def image_key(path: Path) -> int:
    """The key of an image for resampling, the same in every process, order and metric.

    It depends on the last three parts of the path, so that a data set may be moved. Images that share them are drawn
    together.

    >>> image_key(Path("/data/VOC2012/JPEGImages/a.jpg")) == image_key(Path("/VOC2012/JPEGImages/a.jpg"))
    True
    """
    name = "/".join(path.parts[-3:])
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def poisson_weights(keys: Iterable[int], replicates: int, seed: int = 0) -> Weights:
    """The number of draws of each image in each replicate: Poisson numbers of mean 1 that depend only on its key.

    Drawing every image independently allows resampling in a stream: the number of images need not be known, and
    replicates of two halves add up to those of the whole.

    Shape:
        n keys to (n, replicates).

    Source: Hanley & MacGibbon, Creating non-parametric bootstrap samples using Poisson frequencies, 2006.

    >>> poisson_weights([7], 5).tolist() == poisson_weights([3, 7], 5)[1:].tolist()
    True
    """
    draws = [_draws(key, replicates, seed) for key in keys]
    return np.stack(draws) if draws else np.empty((0, replicates), np.uint8)


@functools.lru_cache(maxsize=4096)
def _draws(key: int, replicates: int, seed: int) -> Weights:
    uniform = np.frombuffer(hashlib.shake_128(f"{seed}/{key}".encode()).digest(2 * replicates), "<u2")
    return np.asarray(_QUANTILES[uniform])


def weighted_sums(into: Doubles, values: npt.NDArray[Any], weights: Weights) -> None:
    """Add the values of the images to each sum, weighted by how often each image is drawn.

    Shape:
        ``into`` is (columns, replicates), ``values`` (images, columns), ``weights`` (images, replicates).

    >>> sums = np.zeros((1, 2))
    >>> weighted_sums(sums, np.array([[3], [5]]), np.uint8([[1, 0], [2, 1]]))
    >>> sums.tolist()
    [[13.0, 5.0]]
    """
    if 32 * np.count_nonzero(values) < values.size:
        for image, column in np.argwhere(values).tolist():
            into[column] += values[image, column] * weights[image].astype(np.float64)
        return
    whole = not np.issubdtype(values.dtype, np.floating)
    # Use the smallest float type that holds every sum exactly.
    small = whole and len(values) * HIGHEST_WEIGHT * int(np.abs(values).max()) < 2**24
    exact = np.float32 if small else np.float64
    into += values.T.astype(exact) @ weights.astype(exact)


def percentile_interval(values: npt.ArrayLike, estimate: float) -> tuple[float, float] | None:
    """The 95 % percentile interval of the replicates, corrected for the bias of resampling; None for no interval.

    Drawing images twice makes rankings look better than they are, as does choosing a threshold: the more replicates
    lie above the ``estimate`` on the data set itself, the lower the percentiles that are taken. If half of them lie
    below it, the percentiles are 2.5 and 97.5. The interval always contains the estimate, also where resampling is so
    biased that the correction passes it (a few images of many classes). NaN marks a replicate in which nothing could be
    measured.

    Source: Efron, Nonparametric standard errors and confidence intervals, 1981 (the BC interval).

    >>> low, high = percentile_interval(np.arange(101), 50)
    >>> round(low, 3), round(high, 3)
    (2.5, 97.5)
    >>> percentile_interval(np.arange(101), 120)[1]
    120.0
    """
    values = np.asarray(values, np.float64)
    measured = values[~np.isnan(values)]
    # If half of the replicates hold nothing to measure, the others say little.
    if not values.size or 2 * measured.size < values.size:
        return None
    below = ((measured < estimate).sum() + (measured <= estimate).sum()) / (2 * measured.size)
    edge = 0.5 / measured.size
    shift = 2 * _NORMAL.inv_cdf(min(max(float(below), edge), 1 - edge))
    low, high = np.quantile(measured, [_NORMAL.cdf(shift + _NORMAL.inv_cdf(share)) for share in (0.025, 0.975)])
    return min(float(low), float(estimate)), max(float(high), float(estimate))


def require_replicates(replicates: int) -> None:
    """Refuse a number of replicates that is too small for an interval; 0 for no interval is accepted.

    Raises:
        UserError: it is negative or too small for an interval of 95 %.
    """
    if replicates and replicates < 40:
        raise UserError(f"bootstrap replicates are {replicates}, expected 0 (no interval) or at least 40: try 1000")


def _poisson_quantiles() -> Weights:
    """The Poisson number for each 16-bit uniform number."""
    cumulative = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(HIGHEST_WEIGHT)])
    table: npt.NDArray[Any] = np.searchsorted(cumulative, (np.arange(2**16) + 0.5) / 2**16)
    return table.astype(np.uint8)


_NORMAL = NormalDist()
_QUANTILES = _poisson_quantiles()
