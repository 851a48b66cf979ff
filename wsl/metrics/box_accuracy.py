"""MaxBoxAcc: localization accuracy of a map's boxes at the data set's best map threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from wsl import maps as class_maps
from wsl.errors import UserError
from wsl.maps.overlaps import Protocol
from wsl.maps.sweep import Candidates
from wsl.metrics.benchmark_input import benchmark_input
from wsl.metrics.bootstrap import Doubles
from wsl.metrics.box_curves import iou_levels, map_thresholds
from wsl.metrics.class_mean import with_interval
from wsl.metrics.evidence import Evidence
from wsl.metrics.statistic import Observation, Row, Statistic, Totals, ratio
from wsl.results import BoxOrigin, Metric


class MaxBoxAcc(Statistic):
    """MaxBoxAcc over the images of a data set, one `Metric` per IoU level.

    The value is over images, weighted equally (as in the benchmark), and ``per_class`` holds each class at the same
    threshold, which the note names. With ``single_object`` only images with exactly one annotated object, which must
    not be difficult, count; else every class in ``sample.labels`` that has a box, correct if any of its boxes is
    matched. An image without a (finite) map of the class is a miss, and the note counts them. With the protocol
    ``wsolevaluation``, maps come from `benchmark_input` and boxes from `wsl.maps.benchmark_boxes`, at 224x224. The
    baseline is `centre_box`; like the whole image, it is compared in the image's own pixels with either protocol.

    ``num_thresholds`` is by default the published number, 100. With ``boxes``, whose threshold was not chosen on these
    images, the accuracy at it is also reported: BoxAcc.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> metric = MaxBoxAcc(["dog"], iou_thresholds=[0.5])
    >>> truth = Boxes(xyxy=[[2, 0, 6, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[0, 2, 4, 1]])}
    ... )
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute()[0].name, metric.compute()[0].value
    ('MaxBoxAcc@0.5', 1.0)
    """

    reads_boxes = False
    needs = "boxes"
    views = ("found", "centre", "whole")
    lost = "without a map: misses"
    by_class = False
    candidates: ClassVar[Candidates] = "largest"
    published: ClassVar[int] = 100

    def __init__(
        self,
        classes: Sequence[str],
        iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
        *,
        protocol: Protocol = "default",
        single_object: bool = True,
        num_thresholds: int | None = None,
        boxes: BoxOrigin | None = None,
        **settings: Any,
    ) -> None:
        self.single_object, self.protocol, self.boxes = single_object, protocol, boxes
        self.unit = "single-object images" if single_object else "(image, class) pairs"
        self.iou_thresholds = iou_levels(iou_thresholds)
        self.thresholds = map_thresholds(self.published if num_thresholds is None else num_thresholds, protocol)
        self.columns = len(self.iou_thresholds) * len(self.thresholds)
        super().__init__(classes, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """The changes of each class's hits from one threshold to the next, by IoU level."""
        rows = []
        for label in _single(seen) if self.single_object else seen.pairs:
            # Few hits change from one threshold to the next, so sums of changes are sparse.
            changes = np.zeros((len(self.iou_thresholds), len(self.thresholds)), np.int8)
            missing = not seen.blind and seen.score_map(label) is None
            if seen.blind:
                changes[:, 0] = seen.overlap(label) >= np.array(self.iou_thresholds)
            elif not missing:
                changes[:] = self._overlaps(seen, label) >= np.array(self.iou_thresholds)[:, None]
                changes[:, 1:] -= changes[:, :-1].copy()
            rows.append(Row(label, changes.ravel(), missing))
        return Observation(rows)

    def _overlaps(self, seen: Evidence, label: str) -> Doubles:
        """The best IoU at each threshold."""
        if self.protocol == "default":
            return seen.swept(label, len(self.thresholds), self.candidates)
        score_map = seen.score_map(label)
        assert score_map is not None
        return class_maps.overlaps(
            benchmark_input(score_map),
            class_maps.benchmark_boxes(seen.truth(label).xyxy, seen.found.size),
            self.thresholds,
            protocol=self.protocol,
            candidates=self.candidates,
        )

    def report(self, totals: Totals) -> tuple[Metric, ...]:
        """One metric per IoU level; no value if no image has a map."""
        best = self._right(totals).argmax(axis=1)
        return (*self._levels(totals, best), *self._at_given(totals))

    def best_thresholds(self) -> tuple[float, ...]:
        """The map threshold with the most correct boxes at each IoU level (ties go to the lowest), for another split.

        >>> MaxBoxAcc(["dog"], iou_thresholds=[0.5]).best_thresholds()
        (0.0,)
        """
        return tuple(self.thresholds[self._right(self.totals).argmax(axis=1)].tolist())

    def curves(self) -> dict[float, Doubles]:
        """The accuracy at each of the metric's thresholds, by IoU level; it is highest at the best threshold.

        >>> MaxBoxAcc(["dog"], iou_thresholds=[0.5], num_thresholds=3).curves()
        {0.5: array([0., 0., 0.])}
        """
        trials = max(1, int(self.totals.trials[list(self.mean.reported)].sum()))
        return {level: row / trials for level, row in zip(self.iou_thresholds, self._right(self.totals), strict=True)}

    def at(self, thresholds: Sequence[float], origin: str) -> tuple[Metric, ...]:
        """BoxAcc: the accuracy of each IoU level at a given threshold, or the nearest one of the metric.

        Raises:
            UserError: the number of thresholds is not the number of levels.

        >>> MaxBoxAcc(["dog"], iou_thresholds=[0.5]).at([0.2], "given")[0].name
        'BoxAcc@0.5'
        """
        if len(thresholds) != len(self.iou_thresholds):
            raise UserError(f"{len(thresholds)} thresholds, expected one per level: {len(self.iou_thresholds)}")
        self.settle()
        return self._at(self.totals, thresholds, origin)

    def _at(self, totals: Totals, thresholds: Sequence[float], origin: str) -> tuple[Metric, ...]:
        near = np.abs(self.thresholds - np.array(thresholds)[:, None]).argmin(axis=1)
        exact = np.isclose(self.thresholds[near], thresholds).tolist()
        same = zip(thresholds, exact, strict=True)
        return self._levels(totals, near, [origin if one else f"nearest to {t:g}, {origin}" for t, one in same])

    def _levels(self, totals: Totals, chosen: Any, origins: Sequence[str | None] = ()) -> tuple[Metric, ...]:
        """One metric per IoU level, each at one threshold: the best, or one of another origin."""
        origins = origins or (None,) * len(self.iou_thresholds)
        hits, centre, whole = (self._hits(totals.sums(view)) for view in self.views)
        found = []
        for level, (value, at, origin) in enumerate(zip(self.iou_thresholds, chosen.tolist(), origins, strict=True)):
            threshold = f"{self.thresholds[at]:g}"
            note = f"{self.note(totals)}; best threshold {threshold} on the evaluated split (optimistic)"
            metric = self.mean.metric(
                self._name(f"@{value:g}") if origin is None else self._name(f"@{value:g}").removeprefix("Max"),
                ratio(hits[:, level, at], totals.trials),
                totals.trials * totals.measured,
                baseline=ratio(centre[:, level, 0], totals.trials),
                whole_image=ratio(whole[:, level, 0], totals.trials) if origin is None else None,
                pooled=True,
                note=note if origin is None else f"{self.unit}; threshold {threshold}, {origin}",
                images=int(totals.images[0]),
            )
            found.append(self._with_interval(totals, metric, [level], None if origin is None else at))
        return tuple(found)

    def _at_given(self, totals: Totals) -> tuple[Metric, ...]:
        if self.boxes is None or self.boxes.threshold is None:
            return ()
        given = (self.boxes.threshold,) * len(self.iou_thresholds)
        return self._at(totals, self.boxes.by_metric.get(type(self).__name__, given), self.boxes.origin)

    def _hits(self, changes: Any) -> Any:
        """Correct boxes by class, level and threshold."""
        return changes.reshape(len(changes), len(self.iou_thresholds), -1).cumsum(axis=2)

    def _right(self, totals: Totals) -> Any:
        """Correct boxes of the report classes by level and threshold."""
        return self._hits(totals.sums()[list(self.mean.reported)].sum(axis=0, keepdims=True))[0]

    def _name(self, level: str) -> str:
        """The name of a number, with the protocol unless it is the default."""
        return f"{type(self).__name__}{level}" + ("" if self.protocol == "default" else f" ({self.protocol})")

    def _with_interval(self, totals: Totals, metric: Metric, levels: Sequence[int], at: int | None = None) -> Metric:
        """The metric with the interval of the mean accuracy `at` a threshold, or at the best one of each replicate."""
        if metric.value is None or not self.replicates:
            return metric
        changes = totals.drawn[0].reshape(len(self.iou_thresholds), -1, self.replicates)
        right = [changes[level].cumsum(axis=0) for level in levels]
        hits = np.mean([one.max(axis=0) if at is None else one[at] for one in right], axis=0)
        drawn = ratio(hits, totals.drawn_trials[0])
        return with_interval(metric, drawn)


class MaxBoxAccV2(MaxBoxAcc):
    """MaxBoxAccV2 over the images of a data set: any box of a map may be the correct one; averaged over IoU levels.

    Each level has its own best threshold. The first `Metric` is the mean, the others are its levels. Otherwise as
    `MaxBoxAcc`, with 1,000 thresholds as published.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> metric = MaxBoxAccV2(["dog"])
    >>> truth = Boxes(xyxy=[[6, 0, 8, 2]], labels=["dog"])
    >>> found = Localization(
    ...     path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.float32([[4, 0, 0, 1]])}
    ... )
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(level.name, level.value) for level in metric.compute()][:2]
    [('MaxBoxAccV2', 1.0), ('MaxBoxAccV2@0.3', 1.0)]
    """

    candidates = "all"
    published = 1000

    def report(self, totals: Totals) -> tuple[Metric, ...]:
        """The mean over IoU levels, then each level; no value if no image has a map."""
        levels = self._levels(totals, self._right(totals).argmax(axis=1))
        first = replace(levels[0], name=self._name(""))
        if first.value is None:
            return (first, *levels)
        mean = replace(
            first,
            value=fmean(level.value or 0.0 for level in levels),
            per_class={name: fmean(level.per_class[name] for level in levels) for name in first.per_class},
            baseline=fmean(level.baseline or 0.0 for level in levels),
            whole_image=fmean(level.whole_image or 0.0 for level in levels),
            note=f"mean over IoU {', '.join(f'{level:g}' for level in self.iou_thresholds)}; {first.note}",
        )
        return (self._with_interval(totals, mean, range(len(levels))), *levels, *self._at_given(totals))


def _single(seen: Evidence) -> tuple[str, ...]:
    truth = seen.ground_truth
    return truth.labels if len(truth) == 1 and not truth.difficult[0] else ()
