"""From one number a class to the one number of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.metrics.bootstrap import percentile_interval
from wsl.results import Metric


class ClassMean:
    """The classes of a data set and those of them that a mean is taken over.

    A class without a single trial has no accuracy, so it enters neither the mean nor the table. With
    ``report_classes`` the mean covers these only, and ``per_class`` still lists all.

    Raises:
        UserError: no class, a class named twice, or a report class that is not among the classes.

    >>> mean = ClassMean(["cat", "dog", "emu"])
    >>> mean.metric("recall", {"cat": 0.5, "dog": 1.0}, {"cat": 3, "dog": 1}).value
    0.75
    >>> mean.metric("recall", {"cat": 0.5, "dog": 1.0}, {"cat": 3, "dog": 1}, pooled=True).value
    0.625
    """

    def __init__(self, classes: Sequence[str], report_classes: Sequence[str] = ()) -> None:
        self.classes = tuple(classes)
        self.report_classes = tuple(dict.fromkeys(report_classes)) or self.classes
        self._known = frozenset(self.classes)
        if isinstance(classes, str) or not self.classes or len(self._known) != len(self.classes):
            raise UserError(f"classes are {classes!r}, expected a list of distinct class names")
        unknown = [name for name in self.report_classes if name not in self._known]
        if unknown:
            raise UserError(f"report class {unknown[0]!r} is unknown, expected some of: {', '.join(self.classes[:40])}")

    def __contains__(self, label: str) -> bool:
        return label in self._known

    def require(self, labels: Iterable[str], where: object) -> None:
        """Refuse a label that is none of the classes.

        Raises:
            UserError: naming the label and ``where`` it came from.
        """
        for label in labels:
            if label not in self._known:
                raise UserError(f"{where}: unknown class {label!r}, expected one of: {', '.join(self.classes[:40])}")

    def metric(
        self,
        name: str,
        per_class: Mapping[str, float],
        counts: Mapping[str, int],
        *,
        baseline: Mapping[str, float] | None = None,
        whole_image: Mapping[str, float] | None = None,
        pooled: bool = False,
        note: str = "",
        resampled: Mapping[str, npt.ArrayLike] | None = None,
        draws: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Metric:
        """The mean over the report classes, each class alike, or with ``pooled`` each trial alike.

        ``resampled`` are each class's values in the replicates of a bootstrap, NaN where a replicate holds no trial
        of it, and give the interval; with ``pooled`` they need ``draws``, the trials behind each.
        """
        counted = {label: counts[label] for label in self.classes if counts.get(label, 0) > 0}
        reported = [label for label in self.report_classes if label in counted]
        weights = [counted[label] if pooled else 1 for label in reported]

        def over_classes(values: Mapping[str, float]) -> float | None:
            return _weighted_mean([values[label] for label in reported], weights)

        if reported and len(reported) < len(counted):
            behind = sum(counted[label] for label in reported)
            share = f"{len(reported)} of {len(counted)} classes ({behind} of {sum(counted.values())})"
            note = f"{note}; {share}" if note else share
        value = over_classes(per_class)
        return Metric(
            name=name,
            value=value,
            per_class={label: float(per_class[label]) for label in counted},
            counts=counted,
            baseline=None if baseline is None else over_classes(baseline),
            whole_image=None
            if whole_image is None
            else _weighted_mean([whole_image[label] for label in reported], weights),
            note=note,
            interval=None if resampled is None or value is None else _interval(value, reported, resampled, draws),
        )


def _weighted_mean(values: Sequence[float], weights: Sequence[int]) -> float | None:
    if not values:
        return None
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


def _interval(
    value: float,
    labels: Sequence[str],
    resampled: Mapping[str, npt.ArrayLike],
    draws: Mapping[str, npt.ArrayLike] | None,
) -> tuple[float, float] | None:
    """The interval of the mean over classes, of which each replicate has those that it holds trials of."""
    table = np.asarray([resampled[label] for label in labels], np.float64)
    weights = ~np.isnan(table) if draws is None else np.asarray([draws[label] for label in labels])
    total = weights.sum(axis=0)
    mean = (np.nan_to_num(table) * weights).sum(axis=0) / np.maximum(total, 1)
    return percentile_interval(np.where(total > 0, mean, np.nan), value)
