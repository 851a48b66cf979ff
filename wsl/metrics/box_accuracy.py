"""Do the map's own boxes fit: MaxBoxAcc, localization accuracy at the data set's best map threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl import maps as class_maps
from wsl.boxes import BoolArray, Boxes
from wsl.errors import UserError
from wsl.metrics.bootstrap import percentile_interval
from wsl.metrics.overlap import best_iou, centre_box, require_iou_threshold, whole_box
from wsl.metrics.protocol import StreamingMetric, annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample


class BoxAccuracy(NamedTuple):
    """Accuracy at one IoU level, and the map threshold that reaches it."""

    iou_threshold: float
    accuracy: float
    map_threshold: float


def max_box_acc(
    maps: Sequence[npt.ArrayLike],
    boxes: Sequence[npt.ArrayLike],
    iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    num_thresholds: int = 100,
) -> tuple[BoxAccuracy, ...]:
    """The fraction of images whose map gives a right box, at the best map threshold of the data set.

    At each threshold i / num_thresholds a map, normalised to [0, 1], gives the half-open box of its largest
    connected component; it is right when its IoU with a box of the image reaches the level. Right answers are
    counted per threshold over all images, and the best threshold (of equals the lowest) is one for the data set at
    each IoU level, never one an image. It is picked on the same images, so the number is optimistic.

    Shape:
        one (h, w) map, one (4,) or (n, 4) xyxy array and one (width, height) an image; without ``sizes`` boxes are
        in cells of their map.

    Raises:
        UserError: lengths differ, nothing was given, or a map, box, level or count is out of range.

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, with float
    thresholds and half-open boxes in place of its 8-bit maps and inclusive corners.

    >>> max_box_acc([[[0, 2, 4, 1]]], [[1, 0, 3, 1]], iou_thresholds=[0.5])
    (BoxAccuracy(iou_threshold=0.5, accuracy=1.0, map_threshold=0.0),)
    """
    thresholds = _thresholds(num_thresholds)
    levels = _levels(iou_thresholds)
    if sizes is not None and len(sizes) != len(maps):
        raise UserError(f"{len(maps)} maps with {len(sizes)} sizes, expected as many of each")
    if len(maps) != len(boxes) or not len(maps):
        raise UserError(f"{len(maps)} maps with boxes of {len(boxes)} images, expected as many, at least 1")
    hits = np.zeros((len(levels), num_thresholds), np.int64)
    for i, (score_map, targets) in enumerate(zip(maps, boxes, strict=True)):
        hits += _hits(score_map, targets, None if sizes is None else sizes[i], thresholds, levels)
    best = np.argmax(hits, axis=1)
    return tuple(
        BoxAccuracy(level, float(row[i] / len(maps)), float(thresholds[i]))
        for level, row, i in zip(levels, hits, best, strict=True)
    )


class MaxBoxAcc(StreamingMetric):
    """MaxBoxAcc over the images of a data set, one `Metric` an IoU level.

    The value is over images, each alike (as in the benchmark), and ``per_class`` holds each class at the same
    threshold, which the note names. With ``single_object`` only images with exactly one annotated object, which is
    not difficult, count; else every class in ``sample.labels`` that has a box, right when any of its boxes is met.
    An image without a (finite) map of the class is a miss, and the note counts them. The baseline is `centre_box`.
    Keeps one counter a class, IoU level and threshold, and one a level, threshold and replicate; maps are not kept.

    >>> metric = MaxBoxAcc(["dog"], iou_thresholds=[0.5])
    >>> there = Boxes(xyxy=[[2, 0, 6, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[0, 2, 4, 1]])}
    ... )
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=there))
    >>> metric.compute()[0].name, metric.compute()[0].value
    ('MaxBoxAcc@0.5', 1.0)
    """

    trials: torch.Tensor
    hits: torch.Tensor
    baseline_hits: torch.Tensor
    whole_hits: torch.Tensor
    missing: torch.Tensor
    drawn_trials: torch.Tensor
    drawn_changes: torch.Tensor

    def __init__(
        self,
        classes: Sequence[str],
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        *,
        single_object: bool = True,
        num_thresholds: int = 100,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(classes, report_classes, **settings)
        self.single_object = single_object
        self.iou_thresholds = _levels(iou_thresholds)
        self._thresholds = _thresholds(num_thresholds)
        shape = len(self._mean.classes), len(self.iou_thresholds)
        self._add_counter("trials", shape[0])
        self._add_counter("hits", *shape, num_thresholds)
        self._add_counter("baseline_hits", *shape)
        self._add_counter("whole_hits", *shape)
        self._add_counter("missing")
        self._add_counter("drawn_trials", self.replicates)
        # From one threshold to the next few hits change, so that a change is kept where it happens.
        self._add_counter("drawn_changes", shape[1], num_thresholds, self.replicates)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the maps of one image.

        Raises:
            UserError: the sample has no annotated boxes, or a label is none of the classes.
        """
        truths = annotated_boxes(sample)
        labels = _single_label(truths) if self.single_object else sample.labels
        self._mean.require(labels, sample.path)
        for label in labels:
            target = truths.of(label).xyxy
            if not len(target):
                continue
            row = self._index[label]
            draws = self._draws(sample) if self.replicates and label in self._mean.report_classes else None
            self.trials[row] += 1
            if draws is not None:
                self.drawn_trials += draws
            blind = best_iou([centre_box(found.size), whole_box(found.size)], target)
            centred, whole = blind[:, None] >= np.array(self.iou_thresholds)
            self.baseline_hits[row] += torch.as_tensor(centred, device=self.device)
            self.whole_hits[row] += torch.as_tensor(whole, device=self.device)
            score_map = (found.maps or {}).get(label)
            if score_map is None or not np.isfinite(score_map).all():
                self.missing += 1
                continue
            hits = _hits(score_map, target, found.size, self._thresholds, self.iou_thresholds)
            self.hits[row] += torch.as_tensor(hits, device=self.device)
            if draws is not None:
                self._draw_hits(hits, draws)

    def _draw_hits(self, hits: BoolArray, draws: torch.Tensor) -> None:
        changes = np.diff(hits.astype(np.int8), axis=1, prepend=0)
        for level, at in zip(*np.nonzero(changes), strict=True):
            self.drawn_changes[level, at] += int(changes[level, at]) * draws

    def compute(self) -> tuple[Metric, ...]:
        """One metric an IoU level; no value when no image came with a map."""
        states = (self.trials, self.hits, self.baseline_hits, self.whole_hits)
        trials, hits, baseline, whole = (state.cpu().numpy() for state in states)
        measured = bool(self.missing < self.trials.sum())
        tried = [(label, i) for label, i in self._index.items() if trials[i] and measured]
        reported = hits[[self._index[label] for label in self._mean.report_classes]].sum(axis=0)
        what = "single-object images" if self.single_object else "(image, class) pairs"
        missing = f"; {int(self.missing)} without a map: misses" if self.missing else ""
        found = []
        for level, value in enumerate(self.iou_thresholds):
            best = int(reported[level].argmax())
            threshold = f"best threshold {self._thresholds[best]:g} on the evaluated split (optimistic)"
            metric = self._mean.metric(
                f"MaxBoxAcc@{value:g}",
                {label: hits[i, level, best] / trials[i] for label, i in tried},
                {label: int(trials[i]) for label, i in tried},
                baseline={label: baseline[i, level] / trials[i] for label, i in tried},
                whole_image={label: whole[i, level] / trials[i] for label, i in tried},
                pooled=True,
                note=f"{what}{missing}; {threshold}" if measured else "",
            )
            found.append(
                metric if metric.value is None else replace(metric, interval=self._interval(level, metric.value))
            )
        return tuple(found)

    def _interval(self, level: int, value: float) -> tuple[float, float] | None:
        """Of the accuracy at the best threshold, which each replicate picks for itself."""
        trials = self.drawn_trials.cpu().numpy()
        best = self.drawn_changes[level].cumsum(dim=0).amax(dim=0).cpu().numpy()
        accuracy = np.divide(best, trials, out=np.full(trials.shape, np.nan), where=trials > 0)
        return percentile_interval(accuracy, value)


def _single_label(truths: Boxes) -> tuple[str, ...]:
    return truths.labels if len(truths) == 1 and not truths.difficult[0] else ()


def _hits(
    score_map: npt.ArrayLike,
    boxes: npt.ArrayLike,
    size: tuple[int, int] | None,
    thresholds: npt.NDArray[np.float64],
    levels: Sequence[float],
) -> BoolArray:
    """Which IoU levels each threshold's box reaches, (levels, thresholds)."""
    overlap = best_iou(class_maps.largest_boxes(score_map, thresholds, size=size), boxes)
    return np.asarray(overlap >= np.array(levels)[:, None])


def _thresholds(count: int) -> npt.NDArray[np.float64]:
    if count < 1:
        raise UserError(f"number of thresholds is {count}, expected 1 or more: try 100")
    return np.arange(count) / count


def _levels(iou_thresholds: Sequence[float]) -> tuple[float, ...]:
    for level in iou_thresholds:
        require_iou_threshold(level)
    if not len(iou_thresholds):
        raise UserError("no IoU thresholds, expected at least one: try (0.3, 0.5, 0.7)")
    return tuple(float(level) for level in iou_thresholds)
