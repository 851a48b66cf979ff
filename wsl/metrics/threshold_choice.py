"""The choice of the map threshold and box rule on one split, for drawing boxes on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles
from wsl.metrics.box_curves import map_thresholds
from wsl.metrics.evidence import Evidence
from wsl.metrics.overlap import require_iou_threshold
from wsl.metrics.statistic import Observation, Row, Statistic, Totals, ratio
from wsl.results import BoxOrigin, Metric

RULES: tuple[Literal["largest", "peak"], ...] = ("largest", "peak")
"""Box rules that give one box per class. Of ``all`` boxes CorLoc takes the highest-scored, the one of ``peak``."""


class Choice(NamedTuple):
    """The threshold and rule with the most correct boxes on a split, with their accuracy and the number of pairs."""

    threshold: float
    box_rule: str
    accuracy: float
    pairs: int


class ThresholdChoice(Statistic):
    """CorLoc over (image, class) pairs, of the predicted boxes and of the boxes at each map threshold and box rule.

    `choose` selects one threshold and rule for the whole data set, for use on another one. `compute` gives the accuracy
    of the predicted boxes, and the highest accuracy at any one threshold and rule, which is chosen on the same images
    and therefore optimistic. A threshold is never chosen for each image.

    A trial is an (image, class) pair as in `CorLoc`; all have equal weight. Pairs without a box or map are misses. The
    baseline is `centre_box`.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> truth = Boxes(xyxy=[[2, 0, 6, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[0, 2, 4, 1]])}
    ... )
    >>> choice = ThresholdChoice(["dog"], num_thresholds=4)
    >>> choice.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> choice.choose()
    Choice(threshold=0.0, box_rule='largest', accuracy=1.0, pairs=1)
    """

    needs = "boxes"
    views = ("found", "centre")
    drawn_columns = 1

    def __init__(
        self,
        classes: Sequence[str],
        iou_threshold: float = 0.5,
        *,
        num_thresholds: int = 100,
        boxes: BoxOrigin | None = None,
        **settings: Any,
    ) -> None:
        require_iou_threshold(iou_threshold)
        self.iou_threshold, self.boxes = iou_threshold, boxes
        self.thresholds = map_thresholds(num_thresholds)
        self.columns = 2 + len(RULES) * num_thresholds
        super().__init__(classes, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """Whether each class's box is correct, whether it has no map, and whether the map's boxes are correct."""
        rows = []
        for label in seen.pairs:
            numbers = np.zeros(self.columns, np.bool_)
            numbers[0] = seen.overlap(label) >= self.iou_threshold
            if not seen.blind:
                numbers[1] = seen.score_map(label) is None
                if not numbers[1]:
                    best = [seen.swept(label, len(self.thresholds), rule) for rule in RULES]
                    numbers[2:] = np.ravel(best) >= self.iou_threshold
            rows.append(Row(label, numbers, seen.box(label) is None))
        return Observation(rows)

    def choose(self) -> Choice:
        """The best threshold and rule so far; ties go to ``largest``, then to the lowest threshold.

        Raises:
            UserError: no image has a map of an annotated class.
        """
        return self._choose(self.totals)

    def _choose(self, totals: Totals) -> Choice:
        pairs, curve = int(totals.trials[list(self.mean.reported)].sum()), self._curve(totals)
        if self._mapless(totals) or not pairs:
            raise UserError("no class map of an annotated class to select a threshold on: expected maps and boxes")
        rule, i = np.unravel_index(int(curve.argmax()), curve.shape)
        return Choice(float(self.thresholds[i]), RULES[rule], float(curve[rule, i] / pairs), pairs)

    def accuracies(self) -> dict[str, Doubles]:
        """The accuracy at each threshold, by box rule; `choose` takes the highest."""
        pairs = max(1, int(self.totals.trials[list(self.mean.reported)].sum()))
        return {rule: row / pairs for rule, row in zip(RULES, self._curve(self.totals), strict=True)}

    def report(self, totals: Totals) -> tuple[Metric, Metric]:
        """The accuracy of the predicted boxes, and the highest at one threshold; no value without boxes, or maps."""
        origin = [] if self.boxes is None else [str(self.boxes)]
        mine = self.rate(totals, "CorLoc (pairs)", pooled=True, note="; ".join([self.note(totals), *origin]))
        return replace(mine, per_class={}), self._optimistic(totals)  # by class it is CorLoc

    def _optimistic(self, totals: Totals) -> Metric:
        name = "CorLoc (pairs, optimistic)"
        if self._mapless(totals):
            return self.mean.metric(name)
        best = self._choose(totals)
        place = BoxOrigin(
            threshold=best.threshold, box_rule=best.box_rule, origin="best on the evaluated split (optimistic)"
        )
        column = RULES.index(best.box_rule) * len(self.thresholds) + int(
            np.searchsorted(self.thresholds, best.threshold)
        )
        lost = int(totals.sums()[:, 1].sum())
        return self.mean.metric(
            name,
            ratio(totals.sums()[:, 2 + column], totals.trials),
            totals.trials,
            baseline=ratio(totals.sums("centre")[:, 0], totals.trials),
            pooled=True,
            note="; ".join([self.unit, *([f"{lost} without a map: misses"] if lost else []), str(place)]),
            images=int(totals.images[0]),
        )

    def _mapless(self, totals: Totals) -> bool:
        return bool(totals.sums()[:, 1].sum() == totals.trials.sum())

    def _curve(self, totals: Totals) -> Any:
        """Correct boxes of the report classes by rule and threshold."""
        return totals.sums()[list(self.mean.reported), 2:].sum(axis=0).reshape(len(RULES), -1)
