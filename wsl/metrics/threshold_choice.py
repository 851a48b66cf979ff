"""Which map threshold and box rule to draw boxes with, and what they are worth where nobody chose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl import maps as class_maps
from wsl.boxes import FloatArray
from wsl.errors import UserError
from wsl.metrics.hit_rate import HitMetric
from wsl.metrics.overlap import best_iou, centre_box, require_iou_threshold
from wsl.metrics.protocol import annotated_boxes
from wsl.results import BoxOrigin, Localization, Metric
from wsl.samples import Sample

RULES = ("largest", "peak")
"""Box rules that give a class one box. Of ``all`` parts CorLoc looks at the highest, which is that of the peak."""


class Choice(NamedTuple):
    """The threshold and rule of most right boxes on a split, and how many of its (image, class) pairs are right."""

    threshold: float
    box_rule: str
    accuracy: float
    pairs: int


class ThresholdChoice(HitMetric):
    """CorLoc over (image, class) pairs: of the boxes as they are, and of those at every map threshold and box rule.

    `choose` picks threshold and rule for the whole data set, for use on another one. `compute` gives the accuracy of
    the boxes found, and beside it the highest at any one threshold and rule, which is picked on the same images and
    so is optimistic. A threshold for each image is never picked.

    A trial is an (image, class) pair as in `CorLoc`; each counts alike. Pairs without a box or map are misses. The
    baseline is `centre_box`. Keeps one counter a class, rule and threshold.

    >>> from wsl.boxes import Boxes
    >>> truth = Boxes(xyxy=[[2, 0, 6, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[0, 2, 4, 1]])}
    ... )
    >>> choice = ThresholdChoice(["dog"], num_thresholds=4)
    >>> choice.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> choice.choose()
    Choice(threshold=0.0, box_rule='largest', accuracy=1.0, pairs=1)
    """

    map_hits: torch.Tensor
    missing_boxes: torch.Tensor
    missing_maps: torch.Tensor

    def __init__(
        self,
        classes: Sequence[str],
        iou_threshold: float = 0.5,
        *,
        num_thresholds: int = 100,
        boxes: BoxOrigin | None = None,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        require_iou_threshold(iou_threshold)
        super().__init__(classes, report_classes, **settings)
        self.iou_threshold = iou_threshold
        self.thresholds = np.arange(num_thresholds) / num_thresholds
        self._boxes = boxes
        self._add_counter("map_hits", len(self._mean.classes), len(RULES), num_thresholds)
        self._add_counter("missing_boxes")
        self._add_counter("missing_maps")

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the boxes and maps of one image.

        Raises:
            UserError: the sample has no annotated boxes, or a label is none of the classes.
        """
        ground_truth = annotated_boxes(sample)
        self._mean.require(sample.labels, sample.path)
        for label in sample.labels:
            instances, best = ground_truth.of(label).xyxy, found.boxes.best(label)
            if not len(instances):
                continue
            self.missing_boxes += best is None
            self._count(
                sample,
                label,
                [best is not None and self._right(best, instances)],
                baseline=[self._right(centre_box(found.size), instances)],
            )
            score_map = (found.maps or {}).get(label)
            if score_map is None or not np.isfinite(score_map).all():
                self.missing_maps += 1
                continue
            for i, drawn in enumerate(_boxes_at(score_map, self.thresholds, found.size)):
                hits = best_iou(drawn, instances) >= self.iou_threshold
                self.map_hits[self._index[label], i] += torch.as_tensor(hits, device=self.device)

    def _right(self, box: npt.ArrayLike, instances: npt.ArrayLike) -> bool:
        return bool(best_iou(box, instances)[0] >= self.iou_threshold)

    def choose(self) -> Choice:
        """The best threshold and rule so far; ties go to ``largest``, then to the lowest threshold.

        Raises:
            UserError: no pair came with a map.
        """
        curve, pairs = self._curve(), int(self.trials[self._reported()].sum())
        if self.missing_maps == self.trials.sum() or not pairs:
            raise UserError("no class map of an annotated class to select a threshold on: expected maps and boxes")
        rule, i = np.unravel_index(int(curve.argmax()), curve.shape)
        return Choice(float(self.thresholds[i]), RULES[rule], float(curve[rule, i] / pairs), pairs)

    def accuracies(self) -> dict[str, npt.NDArray[np.float64]]:
        """The accuracy at each threshold, by box rule: what `choose` picks from."""
        pairs = max(1, int(self.trials[self._reported()].sum()))
        return {rule: row / pairs for rule, row in zip(RULES, self._curve(), strict=True)}

    def compute(self) -> tuple[Metric, Metric]:
        """The accuracy of the boxes found, and the highest at one threshold; no value without boxes, or maps."""
        missing = f"; {int(self.missing_boxes)} missing: misses" if self.missing_boxes else ""
        origin = f"; {self._boxes}" if self._boxes is not None else ""
        boxed = bool(self.missing_boxes < self.trials.sum())
        note = f"(image, class) pairs{missing}{origin}"
        mine = self._rates("CorLoc (pairs)", measured=boxed, pooled=True, note=note)
        return replace(mine, per_class={}), self._optimistic()  # by class it is CorLoc

    def _optimistic(self) -> Metric:
        name = "CorLoc (pairs, optimistic)"
        if self.missing_maps == self.trials.sum():
            return self._mean.metric(name, {}, {})
        best = self.choose()
        column = int(np.searchsorted(self.thresholds, best.threshold))
        hits = self.map_hits[:, RULES.index(best.box_rule), column].tolist()
        trials, centred = self.trials[:, 0].tolist(), self.baseline_hits[:, 0].tolist()
        place = BoxOrigin(
            threshold=best.threshold, box_rule=best.box_rule, origin="best on the evaluated split (optimistic)"
        )
        lost = f"; {int(self.missing_maps)} without a map: misses" if self.missing_maps else ""
        tried = [(label, i) for label, i in self._index.items() if trials[i]]
        return self._mean.metric(
            name,
            {label: hits[i] / trials[i] for label, i in tried},
            {label: trials[i] for label, i in tried},
            baseline={label: centred[i] / trials[i] for label, i in tried},
            pooled=True,
            note=f"(image, class) pairs{lost}; {place}",
        )

    def _reported(self) -> list[int]:
        return [self._index[label] for label in self._mean.report_classes]

    def _curve(self) -> npt.NDArray[np.int64]:
        """Right boxes of the reported classes by rule and threshold."""
        return np.asarray(self.map_hits[self._reported()].sum(dim=0).cpu().numpy())


def _boxes_at(
    score_map: npt.ArrayLike, thresholds: npt.NDArray[np.float64], size: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """The box of each rule of `RULES` at each threshold, (T, 4); zeros where there is none."""
    sweep = class_maps.threshold_sweep(score_map, size=size)
    return sweep.largest(thresholds), sweep.peak(thresholds)
