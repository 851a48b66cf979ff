"""Average precision of many resampled data sets at the same time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from wsl.metrics.bootstrap import Doubles, Weights
from wsl.metrics.ranking import Method, recall_levels

_CHUNK = 2_000_000
_BUDGET = 1_000_000_000
_FEWEST = 100


def resampled_ap(
    scores: npt.ArrayLike,
    correct: npt.ArrayLike,
    image: npt.ArrayLike,
    positives: npt.ArrayLike,
    weights: Weights,
    method: Method | Literal["101-point"] = "all-point",
    *,
    ties: bool = True,
) -> Doubles:
    """`ranking_ap` with each image repeated as often as its weight, for every column of weights.

    ``101-point`` with ``ties`` false, where entries of equal score count one after another, is COCOeval's rule: its
    levels are ``np.linspace(0, 1, 101)``, some of which lie above the exact hundredth.

    Shape:
        ``scores``, ``correct`` and ``image`` (the index of its image) are (n,), one entry per ranked item;
        ``positives`` is (images,), ``weights`` (images, replicates); the result is (replicates,), NaN if a replicate
        has no positive.

    >>> weights = np.uint8([[1, 2], [1, 0]])  # both images once; the first one twice
    >>> resampled_ap([0.9, 0.8], [False, True], [1, 0], [1, 0], weights).tolist()
    [0.5, 1.0]
    """
    values, of = np.asarray(scores), np.asarray(image, np.int64)
    order = np.argsort(-values, kind="stable")
    ranked, of = values[order], of[order]
    found = np.flatnonzero(np.asarray(correct, np.bool_)[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if ties else np.arange(len(ranked))
    # Precision peaks and recall rises only at correct entries, so the curve is read only there.
    steps = np.unique(ends[np.searchsorted(ends, found)]) if len(found) else found
    last = np.searchsorted(found, steps, side="right") - 1
    results = []
    for columns in _chunks(len(steps), weights.shape[1]):
        drawn = weights[:, columns]
        gained, passed = _summed(drawn, of[found], last), _summed(drawn, of, steps)
        results.append(_area(gained, passed, drawn_sums(positives, drawn), method))
    return np.concatenate(results) if results else np.empty(0)


def affordable(entries: int, replicates: int) -> int:
    """The number of replicates for a ranking of this size: a large one needs fewer for a stable interval.

    >>> affordable(10_000, 1000), affordable(5_000_000, 1000), affordable(50_000_000, 1000)
    (1000, 200, 100)
    """
    return min(replicates, max(_FEWEST, _BUDGET // max(1, entries)))


def drawn_sums(numbers: npt.ArrayLike, weights: Weights) -> Doubles:
    """The sum of each image's number in each replicate, (..., images) to (..., replicates).

    >>> drawn_sums([1, 2], np.uint8([[1, 2], [1, 0]])).tolist()
    [3.0, 2.0]
    """
    values = np.asarray(numbers, np.float64)
    some = values.any(axis=tuple(range(values.ndim - 1)))
    return np.asarray(values[..., some] @ weights[some].astype(np.float64))


def _summed(weights: Weights, image: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Doubles:
    """The summed weights of the entries' images between consecutive ``ends``, (ends, replicates)."""
    from wsl.metrics.kernels import segment_sums

    return segment_sums(np.ascontiguousarray(weights), image, ends)


def _area(gained: Doubles, passed: Doubles, total: Doubles, method: Method | Literal["101-point"]) -> Doubles:
    """AP of each column, by the rules of `ranking_ap`, of what is found at each step and what it passes."""
    right = gained.cumsum(axis=0)
    precision = passed.cumsum(axis=0, out=passed)
    np.divide(right, np.maximum(precision, 1, out=precision), out=precision)
    if method != "sum":
        backwards = precision[::-1]
        np.maximum.accumulate(backwards, axis=0, out=backwards)
    out_of = total
    if method not in ("sum", "all-point"):
        # How many levels a recall has reached; the first step reaches level 0.
        levels = np.linspace(0, 1, 101) if method == "101-point" else recall_levels(method)
        gained = np.diff(_reached(right, np.maximum(total, 1), levels), axis=0, prepend=-1)
        out_of = np.full_like(total, len(levels))
    area = np.multiply(gained, precision, out=precision).sum(axis=0) / np.maximum(out_of, 1)
    return np.where(total > 0, area, np.nan)


def _reached(right: Doubles, total: Doubles, levels: Doubles) -> Doubles:
    """The number of the last level that each recall right / total reaches.

    No level is below its fraction k / steps. The result is exact: a quotient of integers that is below an integer is
    below it by more than the rounding error.
    """
    last = np.floor(right * (len(levels) - 1) / total)
    above = levels > np.arange(len(levels)) / (len(levels) - 1)
    if above.any():
        last -= above[last.astype(np.intp)] & (right / total < levels[last.astype(np.intp)])
    return last


def _chunks(steps: int, replicates: int) -> Iterator[slice]:
    """Replicates in equal parts of limited memory."""
    parts = max(1, math.ceil(steps * replicates / _CHUNK))
    bounds = np.linspace(0, replicates, min(parts, replicates) + 1).astype(int).tolist()
    return (slice(start, end) for start, end in itertools.pairwise(bounds))
