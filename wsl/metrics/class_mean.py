"""Means over classes, for the numbers of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles, percentile_interval
from wsl.results import Metric


class ClassMean:
    """The classes of a data set, and the subset over which means are taken.

    A class without any trial has no accuracy, so it enters neither the mean nor the table. With ``report_classes`` the
    mean covers only these, and ``per_class`` still lists all.

    Raises:
        UserError: there is no class, a class is named twice, or a report class is not among the classes.

    >>> mean = ClassMean(["cat", "dog", "emu"])
    >>> mean.metric("recall", [0.5, 1.0, np.nan], [3, 1, 0]).value
    0.75
    >>> mean.metric("recall", [0.5, 1.0, np.nan], [3, 1, 0], pooled=True).value
    0.625
    """

    def __init__(self, classes: Sequence[str], report_classes: Sequence[str] = ()) -> None:
        self.classes = tuple(classes)
        self.report_classes = tuple(dict.fromkeys(report_classes)) or self.classes
        self.index = {label: i for i, label in enumerate(self.classes)}
        if isinstance(classes, str) or not self.classes or len(self.index) != len(self.classes):
            raise UserError(f"classes are {classes!r}, expected a list of distinct class names")
        unknown = [name for name in self.report_classes if name not in self.index]
        if unknown:
            raise UserError(f"report class {unknown[0]!r} is unknown, expected some of: {', '.join(self.classes[:40])}")
        self.reported = {self.index[label]: label for label in self.report_classes}

    def __contains__(self, label: str) -> bool:
        return label in self.index

    def require(self, labels: Iterable[str], where: object) -> None:
        """Refuse a label that is not one of the classes.

        Raises:
            UserError: a label is unknown; the message names it and ``where`` it came from.
        """
        for label in labels:
            if label not in self.index:
                raise UserError(f"{where}: unknown class {label!r}, expected one of: {', '.join(self.classes[:40])}")

    def metric(
        self,
        name: str,
        values: npt.ArrayLike | None = None,
        counts: npt.ArrayLike = 0,
        *,
        baseline: npt.ArrayLike | None = None,
        whole_image: npt.ArrayLike | None = None,
        pooled: bool = False,
        note: str = "",
        resampled: Doubles | None = None,
        draws: Doubles | None = None,
        images: int = 0,
    ) -> Metric:
        """The mean over the report classes, with equal weight for each class or, with ``pooled``, for each trial.

        ``resampled`` are each class's values in the replicates of a bootstrap, from which the interval is computed; NaN
        marks a replicate without a trial of the class. With ``pooled`` they need ``draws``, the number of trials of
        each.

        Shape:
            ``values``, ``counts`` and the baselines are (classes,), ``resampled`` and ``draws`` (classes, replicates).
        """
        number = np.broadcast_to(np.asarray(counts, np.int64), (len(self.classes),)).tolist()
        rows = [i for i in self.reported if number[i]]
        weights = [number[i] if pooled else 1 for i in rows]

        def over_classes(per_class: npt.ArrayLike | None) -> float | None:
            if per_class is None or not rows:
                return None
            column = np.asarray(per_class, np.float64).tolist()
            return math.fsum(column[i] * weight for i, weight in zip(rows, weights, strict=True)) / sum(weights)

        counted = {label: number[i] for label, i in self.index.items() if number[i]}
        if rows and len(rows) < len(counted):
            share = f"{len(rows)} of {len(counted)} classes ({sum(number[i] for i in rows)} of {sum(number)})"
            note = f"{note}; {share}" if note else share
        metric = Metric(
            name=name,
            value=over_classes(values),
            per_class={}
            if values is None
            else {label: float(np.asarray(values)[self.index[label]]) for label in counted},
            counts=counted,
            baseline=over_classes(baseline),
            whole_image=over_classes(whole_image),
            note=note,
            images=images,
        )
        return metric if resampled is None else with_interval(metric, _drawn_mean(resampled[rows], draws, rows))


def with_interval(metric: Metric, drawn: Doubles) -> Metric:
    """A metric with its values on resampled data sets, and their interval; unchanged if it has no value.

    >>> round(with_interval(Metric(name="mAP", value=0.5), np.linspace(0, 1, 101)).interval[0], 3)
    0.025
    """
    if metric.value is None:
        return metric
    return replace(metric, interval=percentile_interval(drawn, metric.value), replicates=drawn)


def _drawn_mean(table: Doubles, draws: Doubles | None, rows: Sequence[int]) -> Doubles:
    """The mean in each replicate over the classes of which it holds trials."""
    weights = ~np.isnan(table) if draws is None else draws[rows]
    total = weights.sum(axis=0)
    mean = (np.nan_to_num(table) * weights).sum(axis=0) / np.maximum(total, 1)
    return np.asarray(np.where(total > 0, mean, np.nan))
