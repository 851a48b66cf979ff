"""Top-k accuracy, and GT-known, Top-1 and Top-5 localization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.metrics.evidence import Evidence
from wsl.metrics.overlap import best_iou, require_iou_threshold
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.results import Metric


def class_ranks(scores: npt.ArrayLike, targets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The rank of each image's target among the classes, 0 for the first.

    Of equal scores, the lower class number ranks first.

    Shape:
        ``scores`` are (n, classes), ``targets`` (n,) class numbers; the result is (n,).

    Raises:
        UserError: shapes do not match, a score is NaN, or a target is not a class.

    >>> class_ranks([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], [2, 1]).tolist()
    [1, 1]
    """
    table, numbers = as_numbers(scores, "scores"), as_numbers(targets, "targets", None)
    if table.ndim != 2 or numbers.shape != table.shape[:1]:
        raise UserError(f"scores have shape {table.shape}, targets {numbers.shape}, expected (n, classes) and (n,)")
    if np.isnan(table).any():
        raise UserError("a score is NaN, expected numbers: it cannot be ranked")
    if not np.issubdtype(numbers.dtype, np.integer) or not ((numbers >= 0) & (numbers < table.shape[1])).all():
        raise UserError(f"a target is none of the class numbers 0 to {table.shape[1] - 1}")
    own = np.take_along_axis(table, numbers[:, None], axis=1)
    earlier = np.arange(table.shape[1]) < numbers[:, None]
    return np.asarray(((table > own) | ((table == own) & earlier)).sum(axis=1))


def top_k_accuracy(scores: npt.ArrayLike, targets: npt.ArrayLike, k: int = 1) -> float:
    """The fraction of images whose target is among the k highest-scored classes.

    Shape:
        As for `class_ranks`.

    Raises:
        UserError: as for `class_ranks`, k is below 1, or there is no image.

    >>> top_k_accuracy([[0.1, 0.7, 0.2], [0.5, 0.4, 0.0]], [2, 0], k=1)
    0.5
    """
    ranks = class_ranks(scores, targets)
    _require_k((k,))
    if not ranks.size:
        raise UserError("no images, expected at least one")
    return float((ranks < k).mean())


def top_k_loc(
    boxes: Sequence[npt.ArrayLike | None],
    ground_truth: Sequence[npt.ArrayLike],
    ranks: Sequence[int] | npt.NDArray[np.int64],
    k: int | None = 1,
    iou_threshold: float = 0.5,
) -> float:
    """The fraction of images whose class is among the first k and whose box of that class is correct.

    With ``k`` None the class is taken as known: GT-known Loc.

    Shape:
        For each image, one box (4,) xyxy of its class, or None if none was predicted, one (n, 4) array of true boxes,
        and the rank of the class, from 0.

    Raises:
        UserError: lengths differ or are 0, or a setting is out of range.

    Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, section 4.2.

    >>> boxes, ground_truth = [[0, 0, 9, 9], [0, 0, 9, 9]], [[[0, 0, 9, 9]], [[0, 0, 9, 8]]]
    >>> [top_k_loc(boxes, ground_truth, [0, 3], k) for k in (None, 1, 5)]
    [1.0, 0.5, 1.0]
    """
    require_iou_threshold(iou_threshold)
    if not len(boxes) == len(ground_truth) == len(ranks) or not len(boxes):
        raise UserError(
            f"{len(boxes)} boxes, true boxes of {len(ground_truth)} images, {len(ranks)} ranks, expected as many"
        )
    if k is not None:
        _require_k((k,))
    hits = (
        (k is None or rank < k) and box is not None and best_iou(box, truth)[0] >= iou_threshold
        for box, truth, rank in zip(boxes, ground_truth, ranks, strict=True)
    )
    return float(sum(hits)) / len(boxes)


class TopKAccuracy(Statistic):
    """The fraction of images whose class is among the k highest-scored, over images of exactly one class.

    All images have equal weight. A class without a score in ``found.scores`` has no rank and is missed; images without
    any score are counted in the note. A k that is not below the number of classes is left out. The baseline is chance:
    k divided by the number of classes.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> metric = TopKAccuracy(["cat", "dog", "emu"], ks=(1, 2))
    >>> found = Localization(path="a.jpg", size=(4, 4), scores={"cat": 0.6, "dog": 0.3}, boxes=Boxes.empty())
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"]))
    >>> [(metric.name, metric.value) for metric in metric.compute()]
    [('top-1', 0.0), ('top-2', 1.0)]
    """

    reads_boxes = False
    unit, lost = "images of one class", "without scores: misses"

    def __init__(self, classes: Sequence[str], ks: Sequence[int] = (1, 5), **settings: Any) -> None:
        _require_k(ks)
        self.ks = tuple(k for k in ks if k < len(classes))
        self.columns = len(self.ks)
        super().__init__(classes, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """Whether the class of an image is among the first k; only for an image of exactly one class."""
        scores = seen.scores
        if len(seen.sample.labels) != 1 or seen.sample.unknown(self.mean.classes) or not self.ks:
            return Observation()
        (label,) = seen.sample.labels
        return Observation([Row(label, [seen.rank(label) < k for k in self.ks], not scores)])

    def report(self, totals: Totals) -> tuple[Metric, ...]:
        """One metric per k; no value if no image has a score."""
        metrics = [self.rate(totals, f"top-{k}", column, pooled=True) for column, k in enumerate(self.ks)]
        return tuple(
            replace(metric, baseline=None if metric.value is None else k / len(self.mean.classes))
            for metric, k in zip(metrics, self.ks, strict=True)
        )


class TopKLoc(Statistic):
    """GT-known Loc, and the same with the class among the first k: Top-1 Loc, Top-5 Loc.

    A trial is an (image, class) pair: each class in ``sample.labels`` that has a box; all have equal weight, as in
    benchmarks with one class per image. The highest-scored box predicted for the class must reach the IoU with any
    instance of it. A pair without a box or rank is a miss, and the note counts the former. The baselines take the same
    classes with `centre_box` and `whole_box`.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = TopKLoc(["cat", "dog"], ks=(1,))
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={"cat": 0.6, "dog": 0.3}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(metric.name, metric.value) for metric in metric.compute()]
    [('GT-known Loc', 1.0), ('Top-1 Loc', 0.0)]
    """

    needs = "boxes"
    views = ("found", "centre", "whole")

    def __init__(
        self, classes: Sequence[str], ks: Sequence[int] = (1, 5), iou_threshold: float = 0.5, **settings: Any
    ) -> None:
        _require_k(ks)
        require_iou_threshold(iou_threshold)
        self.ks, self.iou_threshold = tuple(k for k in ks if k < len(classes)), iou_threshold
        self.columns, self.drawn_columns = 2 + len(self.ks), 1 + len(self.ks)
        super().__init__(classes, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """Whether each class's box is correct, with any rank and among the first k, and whether it has no rank."""
        rows = []
        for label in seen.pairs:
            right, rank = seen.overlap(label) >= self.iou_threshold, seen.rank(label)
            numbers = [right, *(right and rank < k for k in self.ks), not seen.scores]
            rows.append(Row(label, numbers, seen.box(label) is None))
        return Observation(rows)

    def report(self, totals: Totals) -> tuple[Metric, ...]:
        """GT-known Loc, then one metric per k; no value if no pair has a box, or none has a score."""
        names = ["GT-known Loc", *(f"Top-{k} Loc" for k in self.ks)]
        metrics = [self.rate(totals, name, i, pooled=True) for i, name in enumerate(names)]
        if totals.sums()[:, -1].sum() == totals.trials.sum():
            metrics[1:] = [self.mean.metric(name) for name in names[1:]]
        return tuple(metrics)


def _require_k(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise UserError(f"k is {tuple(ks)}, expected numbers of classes, each 1 or more: try 1 and 5")
