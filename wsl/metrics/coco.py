"""Detection AP as COCO defines it, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.protocol import StreamingMetric, annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample

IOU_THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))
"""COCO's ten: 0.50, 0.55, …, 0.95."""


def coco_ap(detections: Sequence[Boxes], truths: Sequence[Boxes], classes: Sequence[str]) -> npt.NDArray[np.float64]:
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
    if len(detections) != len(truths):
        raise UserError(f"detections of {len(detections)} images with true boxes of {len(truths)}, expected as many")
    if not truths or not classes:
        return np.full((len(classes), len(IOU_THRESHOLDS)), np.nan)
    # Loaded here: whoever measures points or maps does without it.
    from pycocotools.cocoeval import COCOeval

    # COCOeval reports its progress with prints and offers no switch.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_annotations(truths, classes), _annotations(detections, classes), "bbox")
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.params.maxDets = [100]
        evaluator.params.iouThrs = np.array(IOU_THRESHOLDS)
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"][..., 0, 0]  # (thresholds, recalls, classes), -1 without true boxes
    ap = precision.mean(axis=1).T
    return np.where(ap < 0, np.nan, ap)


class CocoAP(StreamingMetric):
    """COCO's AP over IoU 0.50 to 0.95, AP50 and AP75, each the mean over classes.

    ``counts`` are the annotated boxes that are not difficult. There is no baseline: that of `VOCDetectionAP` tells
    the same. Keeps all boxes, found and true.

    >>> there = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = CocoAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=there)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=there))
    >>> [(metric.name, round(metric.value, 3)) for metric in metric.compute()]
    [('COCO AP', 1.0), ('COCO AP50', 1.0), ('COCO AP75', 1.0)]
    """

    def __init__(self, classes: Sequence[str], *, report_classes: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(classes, report_classes, **settings)
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
        for name, kept in (("found", boxes), ("true", truths)):
            self._append(f"{name}_counts", [len(kept)])
            self._append(f"{name}_labels", [self._index[label] for label in kept.labels])
            self._append(f"{name}_xyxy", kept.xyxy)
        self._append("found_scores", boxes.scores)
        self._append("true_difficult", truths.difficult)

    def compute(self) -> tuple[Metric, ...]:
        """AP, AP50 and AP75; no value when nothing was detected in any image."""
        columns = {"COCO AP": slice(None), "COCO AP50": slice(0, 1), "COCO AP75": slice(5, 6)}
        if not len(self._rows("found_labels")):
            return tuple(self._mean.metric(name, {}, {}) for name in columns)
        classes = self._mean.classes
        easy = self._rows("true_labels")[self._rows("true_difficult") == 0]
        counts = dict(zip(classes, np.bincount(easy, minlength=len(classes)).tolist(), strict=True))
        ap = coco_ap(self._images("found", "scores"), self._images("true", "difficult"), classes)
        return tuple(
            self._mean.metric(
                name, dict(zip(classes, ap[:, column].mean(axis=1).tolist(), strict=True)), counts, note="boxes"
            )
            for name, column in columns.items()
        )

    def _images(self, name: str, field: str) -> list[Boxes]:
        """The boxes of each image as they came in, with their scores or flags."""
        cuts = np.cumsum(self._rows(f"{name}_counts"))[:-1]
        parts = (np.split(self._rows(f"{name}_{column}"), cuts) for column in ("labels", "xyxy", field))
        return [
            Boxes(xyxy=xyxy, labels=tuple(self._mean.classes[i] for i in labels), **{field: values})
            for labels, xyxy, values in zip(*parts, strict=True)
        ]


def _annotations(images: Sequence[Boxes], classes: Sequence[str]) -> Any:
    """The boxes as pycocotools holds them, true or found; ids count from 1, where 0 would mean "unmatched"."""
    from pycocotools.coco import COCO

    numbers = {label: number for number, label in enumerate(classes, start=1)}
    rows = [
        {
            "image_id": image,
            "category_id": numbers[boxes.labels[i]],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": (x1 - x0) * (y1 - y0),
            "score": float(boxes.scores[i]),
            "iscrowd": int(boxes.difficult[i]),
        }
        for image, boxes in enumerate(images, start=1)
        for i, (x0, y0, x1, y1) in enumerate(boxes.xyxy.tolist())
        if boxes.labels[i] in numbers
    ]
    store = COCO()
    store.dataset = {
        "images": [{"id": image} for image in range(1, len(images) + 1)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
        "annotations": [{**row, "id": number} for number, row in enumerate(rows, start=1)],
    }
    store.createIndex()
    return store
