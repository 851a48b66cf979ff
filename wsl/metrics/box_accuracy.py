"""Do the map's own boxes fit: MaxBoxAcc, localization accuracy at the data set's best map threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from wsl import maps as class_maps
from wsl.boxes import BoolArray, Boxes, FloatArray
from wsl.maps.overlaps import Protocol
from wsl.maps.sweep import Candidates
from wsl.metrics.benchmark_input import benchmark_input
from wsl.metrics.bootstrap import percentile_interval
from wsl.metrics.box_curves import Doubles, iou_levels, map_thresholds, reached
from wsl.metrics.overlap import best_iou, centre_box, whole_box
from wsl.metrics.protocol import StreamingMetric, annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample


class MaxBoxAcc(StreamingMetric):
    """MaxBoxAcc over the images of a data set, one `Metric` an IoU level.

    The value is over images, each alike (as in the benchmark), and ``per_class`` holds each class at the same
    threshold, which the note names. With ``single_object`` only images with exactly one annotated object, which is
    not difficult, count; else every class in ``sample.labels`` that has a box, right when any of its boxes is met.
    An image without a (finite) map of the class is a miss, and the note counts them. By protocol ``wsolevaluation``
    maps are made by `benchmark_input` and boxes by `wsl.maps.benchmark_boxes`, at 224x224. The baseline is
    `centre_box`, which like the whole image is compared in the image's own pixels by either protocol.
    Keeps one counter a class, IoU level and threshold, and one a level, threshold and replicate; maps are not kept.

    >>> metric = MaxBoxAcc(["dog"], iou_thresholds=[0.5])
    >>> truth = Boxes(xyxy=[[2, 0, 6, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[0, 2, 4, 1]])}
    ... )
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute()[0].name, metric.compute()[0].value
    ('MaxBoxAcc@0.5', 1.0)
    """

    candidates: Candidates = "largest"

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
        protocol: Protocol = "default",
        single_object: bool = True,
        num_thresholds: int = 100,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(classes, report_classes, **settings)
        self.single_object = single_object
        self.iou_thresholds = iou_levels(iou_thresholds)
        self.protocol: Protocol = protocol
        # Said at once and not at the first image.
        class_maps.overlaps([[0.0]], [], [], protocol=protocol)
        self._thresholds = map_thresholds(num_thresholds, protocol)
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
        ground_truth = annotated_boxes(sample)
        labels = _single_label(ground_truth) if self.single_object else sample.labels
        self._mean.require(labels, sample.path)
        for label in labels:
            instances = ground_truth.of(label).xyxy
            if not len(instances):
                continue
            row = self._index[label]
            draws = self._draws(sample) if self.replicates and label in self._mean.report_classes else None
            self.trials[row] += 1
            if draws is not None:
                self.drawn_trials += draws
            blind = best_iou([centre_box(found.size), whole_box(found.size)], instances)
            centred, whole = blind[:, None] >= np.array(self.iou_thresholds)
            self.baseline_hits[row] += torch.as_tensor(centred, device=self.device)
            self.whole_hits[row] += torch.as_tensor(whole, device=self.device)
            score_map = (found.maps or {}).get(label)
            if score_map is None or not np.isfinite(score_map).all():
                self.missing += 1
                continue
            hits = reached(self._overlaps(score_map, instances, found.size), self.iou_thresholds)
            self.hits[row] += torch.as_tensor(hits, device=self.device)
            if draws is not None:
                self._draw_hits(hits, draws)

    def _overlaps(self, score_map: FloatArray, instances: FloatArray, size: tuple[int, int]) -> Doubles:
        """The best IoU at each threshold."""
        if self.protocol == "default":
            return class_maps.overlaps(score_map, instances, self._thresholds, candidates=self.candidates, size=size)
        return class_maps.overlaps(
            benchmark_input(score_map),
            class_maps.benchmark_boxes(instances, size),
            self._thresholds,
            protocol=self.protocol,
            candidates=self.candidates,
        )

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
                self._name(f"@{value:g}"),
                {label: hits[i, level, best] / trials[i] for label, i in tried},
                {label: int(trials[i]) for label, i in tried},
                baseline={label: baseline[i, level] / trials[i] for label, i in tried},
                whole_image={label: whole[i, level] / trials[i] for label, i in tried},
                pooled=True,
                note=f"{what}{missing}; {threshold}" if measured else "",
            )
            found.append(
                metric if metric.value is None else replace(metric, interval=self._interval([level], metric.value))
            )
        return tuple(found)

    def _name(self, level: str) -> str:
        """What a number is called, the protocol included where it is not our own."""
        return f"{type(self).__name__}{level}" + ("" if self.protocol == "default" else f" ({self.protocol})")

    def _interval(self, levels: Sequence[int], value: float) -> tuple[float, float] | None:
        """Of the mean accuracy at the levels' best thresholds, which each replicate picks for itself."""
        trials = self.drawn_trials.cpu().numpy()
        best = np.mean([self.drawn_changes[at].cumsum(dim=0).amax(dim=0).cpu().numpy() for at in levels], axis=0)
        accuracy = np.divide(best, trials, out=np.full(trials.shape, np.nan), where=trials > 0)
        return percentile_interval(accuracy, value)


class MaxBoxAccV2(MaxBoxAcc):
    """MaxBoxAccV2 over the images of a data set: any of a map's boxes may be right; the mean over IoU levels.

    Each level has its own best threshold. The first `Metric` is the mean, the others are its levels. Otherwise as
    `MaxBoxAcc`, whose published form has 100 thresholds, this one's 1,000.

    >>> metric = MaxBoxAccV2(["dog"])
    >>> truth = Boxes(xyxy=[[6, 0, 8, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[4, 0, 0, 1]])}
    ... )
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(level.name, level.value) for level in metric.compute()][:2]
    [('MaxBoxAccV2', 1.0), ('MaxBoxAccV2@0.3', 1.0)]
    """

    candidates: Candidates = "all"

    def __init__(
        self,
        classes: Sequence[str],
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        *,
        num_thresholds: int = 1000,
        **settings: Any,
    ) -> None:
        super().__init__(classes, iou_thresholds, num_thresholds=num_thresholds, **settings)

    def compute(self) -> tuple[Metric, ...]:
        """The mean over IoU levels, then each level; no value when no image came with a map."""
        levels = super().compute()
        first = levels[0]
        if first.value is None:
            return (replace(first, name=self._name("")), *levels)
        value = _mean([level.value or 0.0 for level in levels])
        mean = replace(
            first,
            name=self._name(""),
            value=value,
            per_class={name: _mean([level.per_class[name] for level in levels]) for name in first.per_class},
            baseline=_mean([level.baseline or 0.0 for level in levels]),
            whole_image=_mean([level.whole_image or 0.0 for level in levels]),
            interval=self._interval(range(len(levels)), value),
            note=f"mean over IoU {', '.join(f'{level:g}' for level in self.iou_thresholds)}; {first.note}",
        )
        return (mean, *levels)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _single_label(ground_truth: Boxes) -> tuple[str, ...]:
    return ground_truth.labels if len(ground_truth) == 1 and not ground_truth.difficult[0] else ()
