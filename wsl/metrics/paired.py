"""Paired bootstrap intervals of the difference between two runs on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from wsl.comparison import ComparedRun, Difference
from wsl.metrics.bootstrap import percentile_interval
from wsl.results import Metric

_DIGITS = 12
"""Differences of two runs beyond these decimals are rounding errors."""


def paired_interval(first: Metric, second: Metric) -> tuple[float, float] | None:
    """The 95 % interval of the difference of two metrics on resampled data sets; None if one is not resampled.

    A resampled data set holds the same images for both, so images that are hard for both do not widen the interval: it
    is narrower than the two separate intervals suggest. If a metric has fewer replicates for one run, the common ones
    are taken, which are the first of both.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16.

    >>> draws = np.linspace(0, 1, 101)
    >>> high = Metric(name="mAP", value=0.75, replicates=draws + 0.25)
    >>> paired_interval(high, Metric(name="mAP", value=0.5, replicates=draws))
    (0.25, 0.25)
    """
    if first.replicates is None or second.replicates is None or first.value is None or second.value is None:
        return None
    common = min(len(first.replicates), len(second.replicates))
    drawn = first.replicates[:common] - second.replicates[:common]
    return percentile_interval(np.round(drawn, _DIGITS), round(first.value - second.value, _DIGITS))


def paired_differences(runs: Sequence[ComparedRun], metrics: Sequence[str]) -> tuple[Difference, ...]:
    """The differences of every pair of runs, for each metric that was measured for both.

    >>> def of(name, value):
    ...     return ComparedRun(name=name, source=name, metrics={"mAP": Metric(name="mAP", value=value)})
    >>> [(one.run, one.against, one.value) for one in paired_differences([of("a", 1), of("b", 0)], ["mAP"])]
    [('b', 'a', -1)]
    """
    differences = []
    for metric in metrics:
        for first, second in combinations(runs, 2):
            before, after = first.value(metric), second.value(metric)
            if before is None or after is None:
                continue
            interval = paired_interval(second.metrics[metric], first.metrics[metric])
            value = round(after - before, _DIGITS)
            differences.append(
                Difference(run=second.name, against=first.name, metric=metric, value=value, interval=interval)
            )
    return tuple(differences)
