"""All metrics over one pass through a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsl.errors import UserError
from wsl.maps import Protocol
from wsl.metrics.annotated_masks import has_mask
from wsl.metrics.bootstrap import REPLICATES, ImageDraws
from wsl.metrics.box_accuracy import MaxBoxAcc, MaxBoxAccV2
from wsl.metrics.class_mean import ClassMean
from wsl.metrics.classification import ClassificationAP
from wsl.metrics.coco import CocoAP
from wsl.metrics.coco_segm import CocoSegmAP
from wsl.metrics.detection import VOCDetectionAP
from wsl.metrics.fixed_thresholds import accuracy_at
from wsl.metrics.localization import CorLoc
from wsl.metrics.pixels import PxAP
from wsl.metrics.point_ap import PointAP
from wsl.metrics.pointing import PointingGame
from wsl.metrics.protocol import StreamingMetric
from wsl.metrics.segmentation import MeanIoU
from wsl.metrics.threshold_choice import ThresholdChoice
from wsl.metrics.top_k import TopKAccuracy, TopKLoc
from wsl.results import BoxOrigin, EvaluationReport, Localization, Metric
from wsl.samples import Sample


def box_accuracies(classes: Sequence[str], protocol: Protocol, **settings: Any) -> tuple[MaxBoxAcc, ...]:
    """MaxBoxAcc and its second version as a protocol has them.

    Ours looks at images of one object. The benchmark's images are of one class, and each counts, right when any of its
    objects is met; of other data sets each class of an image counts.

    >>> [metric.single_object for metric in box_accuracies(["dog"], "wsolevaluation")]
    [False, False]
    """
    single = protocol == "default"
    return tuple(
        kind(classes, protocol=protocol, single_object=single, **settings) for kind in (MaxBoxAcc, MaxBoxAccV2)
    )


class Evaluation:
    """Everything that can be said about localizations, given what is annotated.

    Image labels give classification; boxes, where a sample has them, points and boxes; masks pixels. A metric that
    nothing could be measured for (no maps stored, no boxes annotated) is left out of the report. With
    ``report_classes`` the means cover these classes only, and the table by class still shows all. ``replicates`` is
    how many resampled data sets an interval rests on; 0 leaves intervals out. ``protocol`` is that of
    MaxBoxAcc and PxAP, ``boxes`` says how the boxes were drawn, for the notes.

    Raises:
        UserError: no class, a class named twice, or a report class that is not among the classes.

    >>> from wsl.boxes import Boxes
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> evaluation = Evaluation(["cat", "dog"])
    >>> found = Localization(path="a.jpg", size=(20, 20), scores={"dog": 0.9, "cat": 0.1}, boxes=truth)
    >>> evaluation.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(metric.name, metric.value) for metric in evaluation.compute(source="a.jsonl").metrics[:4]]
    [('mAP', 1.0), ('mAP (11-point)', 1.0), ('top-1', 1.0), ('CorLoc', 1.0)]
    """

    def __init__(
        self,
        classes: Sequence[str],
        report_classes: Sequence[str] = (),
        *,
        protocol: Protocol = "default",
        boxes: BoxOrigin | None = None,
        replicates: int = REPLICATES,
    ) -> None:
        self._mean = ClassMean(classes, report_classes)
        common: dict[str, Any] = {"report_classes": report_classes, "replicates": replicates, "draws": ImageDraws()}
        # Histograms a replicate are large, so that pixels make do with fewer.
        pixels: dict[str, Any] = {**common, "replicates": min(replicates, 200)}
        self._of_labels: tuple[StreamingMetric, ...] = (
            ClassificationAP(classes, **common),
            TopKAccuracy(classes, **common),
        )
        self.choice = ThresholdChoice(classes, boxes=boxes, **common)
        self.max_boxes = box_accuracies(classes, protocol, **common)
        self._boxes = boxes
        self._of_boxes: tuple[StreamingMetric, ...] = (
            PointingGame(classes, **common),
            PointingGame(classes, subset="difficult", **common),
            PointAP(classes, **common),
            CorLoc(classes, **common),
            self.choice,
            TopKLoc(classes, **common),
            VOCDetectionAP(classes, **common),
            *self.max_boxes,
            CocoAP(classes, **common),
        )
        self.pixels = PxAP(classes, protocol=protocol, **pixels)
        self._of_masks: tuple[StreamingMetric, ...] = (
            self.pixels,
            MeanIoU(classes, **pixels),
            CocoSegmAP(classes, **common),
        )
        self._seen: set[Path] = set()
        self._foreign: str | None = None
        self._recognised = False

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in one image: what was found and the ground truth.

        Raises:
            UserError: the two are of different sizes, the image came before, a number is not finite, or the sample
                names a class that is none of the evaluation's.
        """
        if sample.size is not None and tuple(found.size) != tuple(sample.size):
            raise UserError(
                f"{sample.path}: localized at {_by(found.size)} pixels, annotated at {_by(sample.size)}: expected one "
                "size, localize the images that the annotation describes"
            )
        if sample.path in self._seen:
            raise UserError(f"{sample.path}: evaluated twice, expected each image once: remove one of its records")
        self._mean.require((*sample.labels, *sample.ignored), sample.path)
        if sample.boxes is not None:
            self._mean.require(sample.boxes.labels, sample.path)
        for metric in self._of_labels:
            metric.update(found, sample)
        for metric in self._of_boxes if sample.boxes is not None else ():
            metric.update(found, sample)
        for metric in self._of_masks if has_mask(sample) else ():
            metric.update(found, sample)
        self._seen.add(sample.path)
        self._recognise((*found.scores, *found.boxes.labels, *found.points))

    def compute(self, source: str, missing: int = 0) -> EvaluationReport:
        """The report over all images so far.

        ``source`` says what was evaluated; ``missing`` counts the annotated images that it holds nothing for.

        Raises:
            UserError: of all classes that were found, none is among those annotated.
        """
        if self._foreign is not None and not self._recognised:
            known = ", ".join(self._mean.classes[:40])
            raise UserError(f"{source}: found classes such as {self._foreign!r}, expected some of: {known}")
        streams = (*self._of_labels, *self._of_boxes, *self._of_masks)
        metrics = [
            metric for streaming in streams for metric in (*_as_tuple(streaming.compute()), *self._beside(streaming))
        ]
        return EvaluationReport(
            metrics=tuple(metric for metric in metrics if metric.value is not None),
            images=len(self._seen),
            source=source,
            missing=missing,
        )

    def _beside(self, metric: StreamingMetric) -> tuple[Metric, ...]:
        """Beside VOC's APs those of its older rule, beside MaxBoxAcc thresholds that the images had no say in."""
        if isinstance(metric, ClassificationAP | VOCDetectionAP):
            return (metric.by("11-point"),)
        if not isinstance(metric, MaxBoxAcc) or self._boxes is None or self._boxes.threshold is None:
            return ()
        levels = len(metric.iou_thresholds)
        thresholds = self._boxes.by_metric.get(type(metric).__name__, (self._boxes.threshold,) * levels)
        return accuracy_at(metric, thresholds, self._boxes.origin)

    def _recognise(self, labels: Iterable[str]) -> None:
        # One image may well hold foreign classes only; a whole data set of them is a mix-up of names.
        for label in labels:
            if label in self._mean:
                self._recognised = True
            elif self._foreign is None:
                self._foreign = label


def _as_tuple(computed: Metric | tuple[Metric, ...]) -> tuple[Metric, ...]:
    return computed if isinstance(computed, tuple) else (computed,)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
