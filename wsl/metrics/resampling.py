"""Average precision of many resampled data sets at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from wsl.metrics.bootstrap import Doubles, Weights
from wsl.metrics.ranking import Method

Counts = npt.NDArray[np.int64]

_LEVELS = {"11-point": 10, "101-point": 100}
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
    """What `ranking_ap` gives when each image comes as often as its weight says, for every column of weights.

    ``101-point`` with ``ties`` off, where entries of equal score count one after another, is COCOeval's rule.

    Shape:
        ``scores``, ``correct`` and ``image`` (the index of its image) are (n,), one entry a ranked item;
        ``positives`` is (images,), ``weights`` (images, replicates); the result is (replicates,), NaN where a
        replicate holds no positive.

    >>> weights = np.uint8([[1, 2], [1, 0]])  # both images once; the first one twice
    >>> resampled_ap([0.9, 0.8], [False, True], [1, 0], [1, 0], weights).tolist()
    [0.5, 1.0]
    """
    values, of = np.asarray(scores), np.asarray(image, np.intp)
    order = np.argsort(-values, kind="stable")
    ranked, of = values[order], of[order]
    found = np.flatnonzero(np.asarray(correct, np.bool_)[order])
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if ties else np.arange(len(ranked))
    # Precision has its peaks, and recall its steps, where something is found: only there the curve is read.
    steps = np.unique(ends[np.searchsorted(ends, found)]) if len(found) else found
    last = np.searchsorted(found, steps, side="right") - 1
    results = []
    for columns in _chunks(len(ranked), weights.shape[1]):
        drawn = weights[:, columns]
        total = np.asarray(positives, np.int64) @ drawn
        right = np.cumsum(drawn[of[found]], axis=0, dtype=np.int64)[last]
        seen = np.cumsum(drawn[of], axis=0, dtype=np.int64)[steps]
        results.append(_area(right, seen, total, method))
    return np.concatenate(results) if results else np.empty(0)


def affordable(entries: int, replicates: int) -> int:
    """How many replicates a ranking of so many entries is worth: a large one needs fewer for a steady interval.

    >>> affordable(10_000, 1000), affordable(5_000_000, 1000), affordable(50_000_000, 1000)
    (1000, 200, 100)
    """
    return min(replicates, max(_FEWEST, _BUDGET // max(1, entries)))


def _area(right: Counts, seen: Counts, total: Counts, method: str) -> Doubles:
    """AP of each column of cumulated counts, by the rules of `ranking_ap`."""
    precision = right / np.maximum(seen, 1)
    if method != "sum":
        precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    found, out_of = right, total
    if method in _LEVELS:
        # The levels k / steps that a recall has reached, in whole numbers; the first step reaches level 0.
        found = (right * _LEVELS[method]) // np.maximum(total, 1) + 1
        out_of = np.full_like(total, _LEVELS[method] + 1)
    area = (np.diff(found, axis=0, prepend=0) * precision).sum(axis=0) / np.maximum(out_of, 1)
    return np.where(total > 0, area, np.nan)


def _chunks(entries: int, replicates: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(1, entries))
    return (slice(start, start + step) for start in range(0, replicates, step))
