"""Detection AP and AR as COCO defines them, computed by pycocotools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles, image_key, poisson_weights
from wsl.metrics.coco_eval import IOU_THRESHOLDS, CocoTables, box_objects, evaluated, resampled_tables, tables
from wsl.metrics.protocol import StreamingMetric, annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample


def coco_ap(detections: Sequence[Boxes], truths: Sequence[Boxes], classes: Sequence[str]) -> Doubles:
    """COCO's AP of each class at each of its ten IoU thresholds, over boxes of all areas.

    The rules are COCOeval's: 101 recall points, at most 100 detections an image and class, difficult boxes as
    crowds (neither found nor missed, and several detections may lie on one). Scores that tie across images rank in
    the order of the images, as there.

    Shape:
        one `Boxes` of detections and one of true boxes an image to (classes, 10); NaN for a class without a true
        box that is not difficult. Boxes of other classes are left out.

    Raises:
        UserError: lengths differ.

    Source: Lin et al., Microsoft COCO, ECCV 2014; pycocotools.

    >>> there = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> near = Boxes(xyxy=[[0, 0, 10, 8]], labels=["dog"])  # IoU 0.8: right at 7 of 10 thresholds
    >>> coco_ap([near], [there], ["dog"]).mean().round(3).tolist()
    0.7
    """
    return _tables(detections, truths, classes).ap


def coco_ar(detections: Sequence[Boxes], truths: Sequence[Boxes], classes: Sequence[str]) -> Doubles:
    """COCO's average recall of each class, the mean over its ten IoU thresholds, at 1, 10 and 100 boxes an image.

    Shape:
        as `coco_ap`, to (classes, 3).

    Raises:
        UserError: lengths differ.

    >>> there = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> wrong_first = Boxes(xyxy=[[50, 50, 60, 60], [0, 0, 10, 10]], labels=["dog", "dog"], scores=[0.9, 0.8])
    >>> coco_ar([wrong_first], [there], ["dog"]).tolist()
    [[0.0, 1.0, 1.0]]
    """
    return _tables(detections, truths, classes).recall


class CocoAP(StreamingMetric):
    """COCO's AP over IoU 0.50 to 0.95, AP50, AP75, and AR at 1, 10 and 100 boxes, each the mean over classes.

    ``counts`` are the annotated boxes that are not difficult. There is no baseline: that of `VOCDetectionAP` tells
    the same. Keeps all boxes, found and true. Scores that tie across images rank as the images came, and after
    `merge_state` those of the other come first.

    >>> there = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = CocoAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=there)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=there))
    >>> [(metric.name, round(metric.value, 3)) for metric in metric.compute()][:3]
    [('COCO AP', 1.0), ('COCO AP50', 1.0), ('COCO AP75', 1.0)]
    """

    def __init__(self, classes: Sequence[str], *, report_classes: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(classes, report_classes, **settings)
        self._add_rows("keys", dtype=torch.int64)
        for name in ("found", "true"):
            # An image's boxes follow each other; how many they are tells where the next image's begin.
            self._add_rows(f"{name}_counts", dtype=torch.int64)
            self._add_rows(f"{name}_labels", dtype=torch.int32)
            self._add_rows(f"{name}_xyxy", 4, dtype=torch.float32)
        self._add_rows("found_scores", dtype=torch.float32)
        self._add_rows("true_difficult", dtype=torch.int8)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the boxes of one image.

        Raises:
            UserError: the sample has no annotated boxes, or one of them is of none of the classes.
        """
        truths = annotated_boxes(sample)
        self._mean.require(truths.labels, sample.path)
        boxes = found.boxes.select([i for i, label in enumerate(found.boxes.labels) if label in self._mean])
        self._append("keys", [image_key(sample.path)])
        for name, kept in (("found", boxes), ("true", truths)):
            self._append(f"{name}_counts", [len(kept)])
            self._append(f"{name}_labels", [self._index[label] for label in kept.labels])
            self._append(f"{name}_xyxy", kept.xyxy)
        self._append("found_scores", boxes.scores)
        self._append("true_difficult", truths.difficult)

    def compute(self) -> tuple[Metric, ...]:
        """AP, AP50, AP75, AR1, AR10 and AR100; no value when nothing was detected in any image."""
        if not len(self._rows("found_labels")):
            return tuple(self._mean.metric(name, {}, {}) for name in NAMES)
        classes = self._mean.classes
        easy = self._rows("true_labels")[self._rows("true_difficult") == 0]
        counts = dict(zip(classes, np.bincount(easy, minlength=len(classes)).tolist(), strict=True))
        evaluator = _evaluated(self._images("found", "scores"), self._images("true", "difficult"), classes)
        weights = poisson_weights(self._rows("keys").tolist(), self.replicates)
        drawn = _numbers(resampled_tables(evaluator, weights)) if self.replicates else None
        return tuple(
            self._mean.metric(
                name,
                dict(zip(classes, values.tolist(), strict=True)),
                counts,
                note="boxes",
                resampled=dict(zip(classes, drawn[name], strict=True)) if drawn else None,
            )
            for name, values in _numbers(tables(evaluator)).items()
        )

    def _images(self, name: str, field: str) -> list[Boxes]:
        """The boxes of each image as they came in, with their scores or flags."""
        cuts = np.cumsum(self._rows(f"{name}_counts"))[:-1]
        parts = (np.split(self._rows(f"{name}_{column}"), cuts) for column in ("labels", "xyxy", field))
        return [
            Boxes(xyxy=xyxy, labels=tuple(self._mean.classes[i] for i in labels), **{field: values})
            for labels, xyxy, values in zip(*parts, strict=True)
        ]


NAMES = ("COCO AP", "COCO AP50", "COCO AP75", "COCO AR1", "COCO AR10", "COCO AR100")


def _numbers(found: CocoTables) -> dict[str, Doubles]:
    """COCO's six numbers of each class, (classes,) or, of a bootstrap, (classes, replicates)."""
    values = [found.ap.mean(axis=1), found.ap[:, 0], found.ap[:, 5], *np.moveaxis(found.recall, 1, 0)]
    return dict(zip(NAMES, values, strict=True))


def _tables(detections: Sequence[Boxes], truths: Sequence[Boxes], classes: Sequence[str]) -> CocoTables:
    if len(detections) != len(truths):
        raise UserError(f"detections of {len(detections)} images with true boxes of {len(truths)}, expected as many")
    if not truths or not classes:
        return CocoTables(np.full((len(classes), len(IOU_THRESHOLDS)), np.nan), np.full((len(classes), 3), np.nan))
    return tables(_evaluated(detections, truths, classes))


def _evaluated(detections: Sequence[Boxes], truths: Sequence[Boxes], classes: Sequence[str]) -> Any:
    numbers = {label: number for number, label in enumerate(classes, start=1)}
    found, there = ([box_objects(boxes, numbers) for boxes in images] for images in (detections, truths))
    return evaluated(there, found, len(classes), "bbox")
