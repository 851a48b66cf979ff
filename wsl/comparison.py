"""Results of a comparison: the runs, and their differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from wsl.results import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much higher a metric is for one run than for another.

    ``interval`` holds 95 % of the differences on resampled data sets, which have the same images for both runs; None if
    the metric is not resampled.

    >>> Difference(run="lse", against="gap", metric="mAP", value=0.1, interval=(0.02, 0.17)).beyond_noise
    True
    """

    run: str
    against: str
    metric: str
    value: float
    interval: tuple[float, float] | None = None

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    def reversed(self) -> Difference:
        """The same difference with the runs exchanged."""
        interval = None if self.interval is None else (0.0 - self.interval[1], 0.0 - self.interval[0])
        return replace(self, run=self.against, against=self.run, value=0.0 - self.value, interval=interval)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": self.run,
            "against": self.against,
            "metric": self.metric,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "beyond_noise": self.beyond_noise,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The agreement of two runs on the labelled classes, independent of the ground truth: 1 means identical.

    ``iou`` is the mean overlap of their best boxes over ``boxes`` (image, class) pairs for which either has a box,
    ``correlation`` the mean Pearson correlation of their maps over ``maps`` pairs for which both have one.

    >>> Agreement(run="lse", against="gap", iou=0.5, boxes=4).to_json()["iou"]
    0.5
    """

    run: str
    against: str
    iou: float | None = None
    boxes: int = 0
    correlation: float | None = None
    maps: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in ("run", "against", "iou", "boxes", "correlation", "maps")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One run of a comparison: its name in tables, what was measured, how its boxes were drawn, and its metrics.

    ``warnings`` counts what was tolerated in reading, by kind.

    >>> ComparedRun(name="gap", source="runs/gap", metrics={"mAP": Metric(name="mAP", value=0.5)}).value("mAP")
    0.5
    """

    name: str
    source: str
    metrics: Mapping[str, Metric]
    boxes: str = ""
    warnings: Mapping[str, int] = field(default_factory=dict)

    def value(self, metric: str) -> float | None:
        """The value of a metric; None if it could not be measured."""
        found = self.metrics.get(metric)
        return None if found is None else found.value

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        metrics = {
            name: {
                "value": metric.value,
                "interval": None if metric.interval is None else list(metric.interval),
                "baseline": metric.baseline,
                "count": metric.count,
                "images": metric.images,
            }
            for name, metric in self.metrics.items()
        }
        warnings = dict(self.warnings)
        return {"name": self.name, "source": self.source, "boxes": self.boxes, "warnings": warnings, "metrics": metrics}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs that were measured on the same images, and the differences of each pair of runs by each metric.

    ``differences`` has each pair of runs once; `difference` works in either direction. ``baseline`` is the name of the
    run with which tables compare the others.

    >>> runs = [ComparedRun(name=name, source=name, metrics={}) for name in ("gap", "lse")]
    >>> apart = Difference(run="lse", against="gap", metric="mAP", value=0.25)
    >>> comparison = Comparison(runs=runs, metrics=["mAP"], differences=[apart], baseline="gap", images=9, split="val")
    >>> comparison.difference("gap", "lse", "mAP").value
    -0.25
    """

    runs: tuple[ComparedRun, ...]
    metrics: tuple[str, ...]
    differences: tuple[Difference, ...]
    baseline: str
    images: int
    split: str
    protocol: str = "default"
    agreement: tuple[Agreement, ...] = ()

    def __post_init__(self) -> None:
        for name in ("runs", "metrics", "differences", "agreement"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __repr__(self) -> str:
        runs = ", ".join(run.name for run in self.runs)
        return f"Comparison({runs}; {self.images} images of {self.split}: {', '.join(self.metrics)})"

    def difference(self, run: str, against: str, metric: str) -> Difference | None:
        """How much higher a metric is for one run than for another; None if it was not measured for both."""
        for one in self.differences:
            if one.metric == metric and (one.run, one.against) == (run, against):
                return one
            if one.metric == metric and (one.against, one.run) == (run, against):
                return one.reversed()
        return None

    def best(self, metric: str) -> str | None:
        """The run with the best value of a metric, if its difference from the second is beyond noise."""
        sign = 1 if any(run.metrics[metric].lower_is_better for run in self.runs if metric in run.metrics) else -1
        known = [(value, run.name) for run in self.runs if (value := run.value(metric)) is not None]
        ranked = [name for _, name in sorted(known, key=lambda one: sign * one[0])]
        if len(ranked) < 2:
            return None
        lead = self.difference(ranked[0], ranked[1], metric)
        return ranked[0] if lead is not None and lead.beyond_noise else None

    def centre(self, metric: str) -> tuple[float, float] | None:
        """The lowest and highest baseline; it differs by run, because boxes at the centre have the run's own scores."""
        known = [run.metrics[metric].baseline for run in self.runs if metric in run.metrics]
        values = [value for value in known if value is not None]
        return (min(values), max(values)) if values else None

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``comparison.json``."""
        return {
            "images": self.images,
            "split": self.split,
            "protocol": self.protocol,
            "baseline": self.baseline,
            "metrics": list(self.metrics),
            "runs": [run.to_json() for run in self.runs],
            "differences": [difference.to_json() for difference in self.differences],
            "agreement": [agreement.to_json() for agreement in self.agreement],
        }
