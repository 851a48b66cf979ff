"""The engine of every metric: sums over images and over resampled data sets, merging, and rates.

A metric is a `Statistic`: it defines what an image adds (`observe`) and what the sums mean (`report`). Everything else
is inherited: the centre and the whole image as baselines, intervals, missing predictions, notes, merging.

>>> class Luck(Statistic):
...     def observe(self, seen):
...         return Observation([Row(label, [seen.found.scores.get(label, 0) > 0.5]) for label in seen.sample.labels])
...
...     def report(self, totals):
...         return self.rate(totals, "luck")
>>> from wsl.boxes import Boxes
>>> luck = Luck(["cat", "dog"])
>>> for score in (0.9, 0.2):
...     found = Localization(path=f"{score}.jpg", size=(4, 4), scores={"dog": score}, boxes=Boxes.empty())
...     luck.update(found, Sample(path=found.path, labels=["dog"]))
>>> luck.compute().value, luck.compute().counts
(0.5, {'dog': 2})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.metrics.bootstrap import REPLICATES, Doubles, image_key, poisson_weights, require_replicates, weighted_sums
from wsl.metrics.class_mean import ClassMean
from wsl.metrics.evidence import Centre, Evidence, View, Whole
from wsl.results import Localization, Metric
from wsl.samples import Sample

Records = npt.NDArray[Any]

_PENDING = 64
_VIEWS: Mapping[View, type[Evidence]] = {kind.view: kind for kind in (Evidence, Centre, Whole)}


class Row(NamedTuple):
    """The contribution of one image to the sums of a class; ``missing`` if nothing was predicted for it."""

    label: str
    numbers: npt.ArrayLike
    missing: bool = False


class Observation(NamedTuple):
    """The contribution of one image: rows to sum by class, and records (structured arrays by name) to keep unchanged.

    Records have a field ``key``, which is set to the key of their image.
    """

    rows: Sequence[Row] = ()
    records: Mapping[str, Records] = {}


class Totals:
    """The sums over all images so far, which can be added over parts of a data set.

    ``sums`` of a view are (classes, columns); ``trials`` and ``missing`` (classes,) count its rows. ``drawn`` are the
    sums of each resampled data set, (classes, columns, replicates), and ``drawn_trials`` (classes, replicates).
    """

    def __init__(self, counters: dict[str, Records], records: dict[str, list[Records]]) -> None:
        self.counters = counters
        self.kept = records

    def __getattr__(self, name: str) -> Records:
        counters: dict[str, Records] = self.__dict__.get("counters", {})
        if name not in counters:
            raise AttributeError(name)
        return counters[name]

    def sums(self, view: View = "found") -> Records:
        """The sums of a view, (classes, columns)."""
        return self.counters[view]

    def records(self, name: str) -> Records:
        """All records of this name."""
        return np.concatenate(self.kept[name])

    @property
    def measured(self) -> bool:
        """Whether anything was predicted in any trial."""
        return bool(self.missing.sum() < self.trials.sum())

    def __iadd__(self, other: Totals) -> Totals:
        for name, counter in other.counters.items():
            self.counters[name] += counter
        for name, parts in other.kept.items():
            self.kept[name].extend(parts)
        return self


class Statistic:
    """A metric over images: a subclass defines `observe` and `report`, and inherits the rest.

    A subclass declares which baselines see the same images (``views``), how many numbers a `Row` has (``columns``), how
    many of them are resampled for the interval (``drawn_columns``, all by default; by class, or with ``by_class`` False
    over the report classes together), which records it keeps (``records``), and how its notes name a trial (``unit``)
    and one without a prediction (``lost``), which counts as a trial or, with ``left_out``, does not. ``needs`` is the
    annotation without which an image is left out; ``reads_boxes`` is False if it does not read the predicted boxes.

    Intervals come from a bootstrap over images, each with all of its predictions: `poisson_weights` gives each image
    the same draws in every process and metric, so that merged parts have the interval of the whole.

    Args:
        classes: All class names, in the order of the report.
        report_classes: The classes over which the mean is taken; all when empty.
        replicates: The number of resampled data sets for the interval; 0 for no interval, at no cost.

    Raises:
        UserError: there is no class, a class is named twice, a report class is not among the classes, or the number of
            replicates is too small for an interval.
    """

    needs: ClassVar[Literal["labels", "boxes", "masks"]] = "labels"
    views: ClassVar[tuple[View, ...]] = ("found",)
    reads_boxes: ClassVar[bool] = True
    unit: str = "(image, class) pairs"
    lost: ClassVar[str] = "missing: misses"
    left_out: ClassVar[bool] = False
    by_class: ClassVar[bool] = True
    records: Mapping[str, Any] = MappingProxyType({})
    sum_type: ClassVar[type] = np.int64
    columns: int = 1
    drawn_columns: int | None = None

    def __init__(
        self, classes: Sequence[str], report_classes: Sequence[str] = (), *, replicates: int = REPLICATES
    ) -> None:
        require_replicates(replicates)
        self.replicates = replicates
        self.mean = ClassMean(classes, report_classes)
        self.index: Mapping[str, int] = self.mean.index
        self.totals = self.nothing()
        self._pending: list[tuple[int, int, Records]] = []

    def observe(self, seen: Evidence) -> Observation:
        """The contribution of one image, for the method or for a baseline."""
        raise NotImplementedError(f"{type(self).__name__} has no observe")

    def report(self, totals: Totals) -> Metric | tuple[Metric, ...]:
        """The metric or metrics computed from the sums."""
        raise NotImplementedError(f"{type(self).__name__} has no report")

    def update(self, found: Localization, sample: Sample) -> None:
        """Add one image: its predictions and its ground truth.

        Raises:
            UserError: the sample lacks what the metric needs or names a class that is not one of the metric's, or a
                number is not finite.
        """
        self.add(sample, self.observed(Evidence(found, sample, self.index)))

    def observed(self, seen: Evidence) -> dict[View, Observation]:
        """The contribution of one image to each view; changes nothing."""
        self.check(seen.sample)
        return {view: self.observe(_VIEWS[view].of(seen)) for view in self.views}

    def check(self, sample: Sample) -> None:
        """Refuse a sample that the metric cannot use.

        Raises:
            UserError: a label is not one of the classes.
        """
        self.mean.require((*sample.labels, *sample.ignored, *(sample.negatives or ())), sample.path)
        if sample.boxes is not None and self.needs == "boxes":
            self.mean.require(sample.boxes.labels, sample.path)

    def add(self, sample: Sample, observed: Mapping[View, Observation], totals: Totals | None = None) -> None:
        """Add the result of `observed` for one image; to given ``totals`` other than its own, it is added at once."""
        key, own = image_key(sample.path), totals is None
        totals = self.totals if totals is None else totals
        lost, trials = totals.missing, totals.trials
        for view, observation in observed.items():
            sums = totals.sums(view)
            for label, numbers, missing in observation.rows:
                row, values = self.mean.index[label], np.asarray(numbers)
                lost[row] += missing and view == "found"
                if missing and self.left_out:
                    continue
                sums[row] += values
                if view == "found":
                    trials[row] += 1
                    self._draw(key, row, values)
            for name, records in observation.records.items():
                if len(records):
                    records["key"] = key
                    totals.kept[name].append(records)
        totals.images[0] += any(observation.rows for observation in observed.values())
        if not own or len(self._pending) >= _PENDING:
            self.settle(totals)

    def compute(self) -> Any:
        """The metric or metrics over all images so far; a value is None if nothing could be measured."""
        self.settle()
        return self.report(self.totals)

    def merge(self, other: Self) -> None:
        """Add the totals of the same metric of other images, such as the other half of a data set.

        Raises:
            UserError: it is another metric, has other classes or settings, or is this one.
        """
        if other is self or other._settings() != self._settings():
            raise UserError(
                f"{self._settings()} merged with {'itself' if other is self else other._settings()}: expected the same "
                "metric with the same classes and settings, of other images"
            )
        other.settle()
        self.totals += other.totals

    def _settings(self) -> str:
        """The metric, its classes and its plain settings, as text."""
        plain = {name: value for name, value in vars(self).items() if isinstance(value, (int, float, str, tuple))}
        told = ", ".join(f"{name}={value!r}" for name, value in plain.items() if name[0] != "_")
        classes = f"{list(self.mean.classes)}, report_classes={list(self.mean.report_classes)}"
        return f"{type(self).__name__}({classes}, {told})"

    def nothing(self) -> Totals:
        """Empty totals."""
        classes, groups = len(self.mean.classes), len(self.mean.classes) if self.by_class else 1
        drawn = self.columns if self.drawn_columns is None else self.drawn_columns
        # Integers are held exactly in doubles, which matrix products require.
        counters = {
            "images": np.zeros(1, np.int64),
            "trials": np.zeros(classes, np.int64),
            "missing": np.zeros(classes, np.int64),
            "drawn_trials": np.zeros((groups, self.replicates if self.columns else 0)),
            "drawn": np.zeros((groups, drawn, self.replicates if self.columns else 0)),
        }
        counters |= {view: np.zeros((classes, self.columns), self.sum_type) for view in self.views}
        return Totals(counters, {name: [np.empty(0, kind)] for name, kind in self.records.items()})

    def _draw(self, key: int, row: int, values: Records) -> None:
        if not self.replicates or not self.columns:
            return
        if not self.by_class:
            if row not in self.mean.reported:
                return
            row = 0
        self._pending.append((key, row, values[: self.totals.drawn.shape[1]]))

    def settle(self, totals: Totals | None = None) -> None:
        """Add rows to the resampled sums, many at once."""
        totals = self.totals if totals is None else totals
        pending, self._pending = self._pending, []
        groups: dict[int, list[tuple[int, Records]]] = {}
        for key, row, values in pending:
            groups.setdefault(row, []).append((key, values))
        for row, members in groups.items():
            weights = poisson_weights([key for key, _ in members], self.replicates)
            totals.drawn_trials[row] += weights.sum(axis=0)
            weighted_sums(totals.drawn[row], np.stack([values for _, values in members]), weights)

    def note(self, totals: Totals, *more: str) -> str:
        """A note on what a number was measured on, what was missing, and ``more``."""
        missing = int(totals.missing.sum())
        return "; ".join([self.unit, *more, *([f"{missing} {self.lost}"] if missing else [])])

    def rate(
        self, totals: Totals, name: str, column: int = 0, *, pooled: bool = False, note: str | None = None
    ) -> Metric:
        """A column over the trials: the mean over classes, or with ``pooled`` over all trials."""

        def over_trials(view: View) -> Doubles | None:
            return ratio(totals.sums(view)[:, column], totals.trials) if view in self.views else None

        drawn = ratio(totals.drawn[:, column], totals.drawn_trials) if self.replicates else None
        return self.mean.metric(
            name,
            over_trials("found"),
            totals.trials if self.left_out else totals.trials * totals.measured,
            baseline=over_trials("centre"),
            whole_image=over_trials("whole"),
            pooled=pooled,
            note=self.note(totals) if note is None else note,
            resampled=drawn,
            draws=totals.drawn_trials if pooled else None,
            images=int(totals.images[0]),
        )


def ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Doubles:
    """The quotient; NaN where the denominator is 0.

    >>> ratio([1, 0], [2, 0]).tolist()
    [0.5, nan]
    """
    over, under = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    quotient: Doubles = np.full(np.broadcast_shapes(over.shape, under.shape), np.nan)
    return np.divide(over, under, out=quotient, where=under > 0)
