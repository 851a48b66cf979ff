"""All metrics in one pass over a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from wsl.errors import UserError, nearest
from wsl.maps import Protocol
from wsl.metrics.annotated_masks import has_mask
from wsl.metrics.bootstrap import REPLICATES
from wsl.metrics.box_accuracy import MaxBoxAcc, MaxBoxAccV2
from wsl.metrics.calibration import BoxCalibration, Calibration
from wsl.metrics.class_masks import ClassMaskAP
from wsl.metrics.class_mean import ClassMean
from wsl.metrics.classification import ClassificationAP
from wsl.metrics.coco import CocoAP
from wsl.metrics.detection import VOCDetectionAP
from wsl.metrics.evidence import Evidence
from wsl.metrics.localization import CorLoc
from wsl.metrics.parallel import Observed, Pair, observed_side_by_side
from wsl.metrics.pixels import PxAP
from wsl.metrics.point_ap import PointAP
from wsl.metrics.pointing import PointingGame
from wsl.metrics.segmentation import MeanIoU
from wsl.metrics.statistic import Statistic
from wsl.metrics.threshold_choice import ThresholdChoice
from wsl.metrics.top_k import TopKAccuracy, TopKLoc
from wsl.results import BoxOrigin, EvaluationReport, Localization, Metric
from wsl.samples import Sample


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The common settings of the metrics of an evaluation."""

    classes: Sequence[str]
    report_classes: Sequence[str] = ()
    protocol: Protocol = "default"
    boxes: BoxOrigin | None = None
    replicates: int = REPLICATES
    num_thresholds: int | None = None

    def evaluation(self, metrics: Sequence[str]) -> Evaluation:
        """An evaluation of some metrics with these settings, as created in other processes."""
        return Evaluation(**{field.name: getattr(self, field.name) for field in fields(self)}, metrics=metrics)

    def make(self, kind: Callable[..., Statistic], **more: Any) -> Statistic:
        """A metric with these classes and replicates."""
        common = {"report_classes": self.report_classes, "replicates": self.replicates}
        return kind(self.classes, **{**common, **more})

    @property
    def max_boxes(self) -> dict[str, Any]:
        """The arguments of MaxBoxAcc. The default protocol counts images of one object.

        The benchmark's images have one class each and all count, correct if any object is matched; on other data sets
        each class of an image counts.
        """
        single = self.protocol == "default"
        shared = {"protocol": self.protocol, "boxes": self.boxes, "num_thresholds": self.num_thresholds}
        return {**shared, "single_object": single}

    @property
    def few(self) -> dict[str, Any]:
        """The arguments of metrics of histograms: fewer replicates, because the histograms of each are large."""
        return {"replicates": min(self.replicates, 200)}


_BOTH = ("all-point", "11-point")

METRICS: Mapping[str, Callable[[Settings], Statistic]] = {
    "mAP": lambda s: s.make(ClassificationAP, method=_BOTH),
    "top-k": lambda s: s.make(TopKAccuracy),
    "pointing": lambda s: s.make(PointingGame),
    "pointing-difficult": lambda s: s.make(PointingGame, subset="difficult"),
    "point-AP": lambda s: s.make(PointAP),
    "CorLoc": lambda s: s.make(CorLoc),
    "CorLoc-pairs": lambda s: s.make(ThresholdChoice, boxes=s.boxes),
    "Loc": lambda s: s.make(TopKLoc),
    "AP50": lambda s: s.make(VOCDetectionAP, method=_BOTH),
    "MaxBoxAcc": lambda s: s.make(MaxBoxAcc, **s.max_boxes),
    "MaxBoxAccV2": lambda s: s.make(MaxBoxAccV2, **s.max_boxes),
    "COCO-AP": lambda s: s.make(CocoAP),
    "PxAP": lambda s: s.make(PxAP, protocol=s.protocol, **s.few),
    "mIoU": lambda s: s.make(MeanIoU, **s.few),
    "class-mask-AP": lambda s: s.make(ClassMaskAP),
    "calibration": lambda s: s.make(Calibration, **s.few),
    "box-calibration": lambda s: s.make(BoxCalibration, **s.few),
}
"""The metrics of an evaluation by name, in the order of the report."""


class Evaluation:
    """All metrics of localizations that the annotations allow.

    Image labels allow metrics of classification, annotated boxes those of points and boxes, masks those of pixels. A
    metric for which nothing could be measured (no maps stored, no boxes annotated) is left out of the report. With
    ``report_classes`` the means cover only these classes, and the table by class still shows all. ``replicates`` is the
    number of resampled data sets for an interval; 0 leaves intervals out. ``protocol`` is that of MaxBoxAcc and PxAP,
    ``boxes`` says how the boxes were drawn, for the notes, ``num_thresholds`` is that of MaxBoxAcc and MaxBoxAccV2 (by
    default 100 and 1,000), ``metrics`` are the names in `METRICS` to compute.

    Raises:
        UserError: there is no class, a class is named twice, a report class is not among the classes, or a metric is
            unknown.

    >>> from wsl import Boxes
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> evaluation = Evaluation(["cat", "dog"])
    >>> found = Localization(path="a.jpg", size=(20, 20), scores={"dog": 0.9, "cat": 0.1}, boxes=truth)
    >>> evaluation.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(metric.name, metric.value) for metric in evaluation.compute(source="a.jsonl").metrics[:3]]
    [('mAP', 1.0), ('mAP (11-point)', 1.0), ('top-1', 1.0)]
    """

    def __init__(
        self,
        classes: Sequence[str],
        report_classes: Sequence[str] = (),
        *,
        protocol: Protocol = "default",
        boxes: BoxOrigin | None = None,
        replicates: int = REPLICATES,
        num_thresholds: int | None = None,
        metrics: Sequence[str] = (),
    ) -> None:
        settings = Settings(
            classes=classes,
            report_classes=report_classes,
            protocol=protocol,
            boxes=boxes,
            replicates=replicates,
            num_thresholds=num_thresholds,
        )
        check_metrics(metrics)
        self._settings = settings
        self._mean = ClassMean(classes, report_classes)
        self.statistics = {name: make(settings) for name, make in METRICS.items() if not metrics or name in metrics}
        self._seen: set[Path] = set()
        self._annotated: set[str] = set()
        self._foreign: str | None = None
        self._recognised = False

    def update(self, found: Localization, sample: Sample) -> None:
        """Add one image: its predictions and its ground truth.

        Raises:
            UserError: the two have different sizes, the image was added before, a number is not finite, or the sample
                names a class that is not one of the evaluation's.
        """
        self._fold(found, sample, self.observe(found, sample))

    @property
    def reads_boxes(self) -> bool:
        """Whether one of the metrics reads the predicted boxes."""
        return any(statistic.reads_boxes for statistic in self.statistics.values())

    def stream(self, pairs: Iterable[Pair], processes: int = 1) -> Iterator[Pair]:
        """Add many images and yield each after it was added; the results are those of `update`.

        Several ``processes``, of which this is one, observe images in parallel, a few at a time. The others start with
        `spawn`, so a script may use them only under ``if __name__ == "__main__"``. Metrics that are not in `METRICS`
        need a single process.

        Raises:
            UserError: as for `update`, at the first such image in the order of the pairs.
        """
        if processes <= 1:
            for found, sample in pairs:
                self.update(found, sample)
                yield found, sample
            return
        for observed, batch in observed_side_by_side(self, self._settings, pairs, processes):
            for (found, sample), of_image in zip(batch, observed, strict=True):
                self._fold(found, sample, of_image)
                yield found, sample

    def compute(self, source: str, missing: int = 0) -> EvaluationReport:
        """The report over all images so far.

        ``source`` names what was evaluated; ``missing`` counts the annotated images for which it has no predictions.

        Raises:
            UserError: none of the predicted classes is annotated.
        """
        if self._foreign is not None and not self._recognised:
            known = ", ".join(self._mean.classes[:40])
            raise UserError(f"{source}: predicts classes such as {self._foreign!r}, expected some of: {known}")
        measured = [
            (name, metric)
            for name, statistic in self.statistics.items()
            for metric in _as_tuple(statistic.compute())
            if metric.value is not None
        ]
        return EvaluationReport(
            metrics=tuple(metric for _, metric in measured),
            computed_by={metric.name: name for name, metric in measured},
            images=len(self._seen),
            source=source,
            missing=missing,
        )

    def unmeasured(self, report: EvaluationReport) -> dict[str, str]:
        """Why metrics have no number in the report of `compute`, by their names in `METRICS`."""
        measured = set(report.computed_by.values())
        return {
            name: "no image has what it measures" if name in self._annotated else f"no image has annotated {one.needs}"
            for name, one in self.statistics.items()
            if name not in measured
        }

    def observe(self, found: Localization, sample: Sample) -> Observed:
        """The contribution of an image to each metric, by name; changes nothing, so it can run in other processes.

        Raises:
            UserError: as for `update`.
        """
        if sample.size is not None and tuple(found.size) != tuple(sample.size):
            turned = tuple(found.size) == tuple(sample.size)[::-1]
            hint = "turn the annotation by the EXIF orientation" if turned else "localize the images that it describes"
            raise UserError(
                f"{sample.path}: localized at {_by(found.size)} pixels, annotated at {_by(sample.size)}: expected one "
                f"size: {hint}"
            )
        seen, masked = Evidence(found, sample, self._mean.index), has_mask(sample)
        known = {"labels": True, "boxes": sample.boxes is not None, "masks": masked}
        return {name: one.observed(seen) for name, one in self.statistics.items() if known[one.needs]}

    def _fold(self, found: Localization, sample: Sample, observed: Observed) -> None:
        if sample.path in self._seen:
            raise UserError(f"{sample.path}: evaluated twice, expected each image once: remove one of its records")
        for name, of_metric in observed.items():
            self.statistics[name].add(sample, of_metric)
        self._annotated.update(observed)
        self._seen.add(sample.path)
        self._recognise((*found.scores, *found.boxes.labels, *found.points))

    def _recognise(self, labels: Iterable[str]) -> None:
        # A single image may have only foreign classes; in a whole data set this means that the names do not match.
        if self._recognised:
            return
        for label in labels:
            if label in self._mean:
                self._recognised = True
            elif self._foreign is None:
                self._foreign = label


def check_metrics(names: Sequence[str]) -> None:
    """Refuse an unknown metric.

    Raises:
        UserError: a metric is unknown; the message names the known ones.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        near = nearest(unknown[0], METRICS)
        hint = f"did you mean {near!r}? There are" if near else "expected some of"
        raise UserError(f"no metric {unknown[0]!r}: {hint} {', '.join(METRICS)}")


def _as_tuple(computed: Metric | tuple[Metric, ...]) -> tuple[Metric, ...]:
    return computed if isinstance(computed, tuple) else (computed,)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
