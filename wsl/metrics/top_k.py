"""Is the class among the first k, and is its box right: top-k accuracy, and GT-known, Top-1 and Top-5 Loc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.errors import UserError
from wsl.metrics.hit_rate import HitMetric
from wsl.metrics.overlap import best_iou, centre_box, require_iou_threshold, whole_box
from wsl.metrics.protocol import annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample


def class_ranks(scores: npt.ArrayLike, targets: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The place of each image's target among the classes, 0 for the first.

    Of equal scores the lower class number ranks first.

    Shape:
        ``scores`` are (n, classes), ``targets`` (n,) class numbers; the result is (n,).

    Raises:
        UserError: shapes do not fit, a score is NaN, or a target is not a class.

    >>> class_ranks([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], [2, 1]).tolist()
    [1, 1]
    """
    table, numbers = np.asarray(scores, np.float64), np.asarray(targets)
    if table.ndim != 2 or numbers.shape != table.shape[:1]:
        raise UserError(f"scores have shape {table.shape}, targets {numbers.shape}, expected (n, classes) and (n,)")
    if np.isnan(table).any():
        raise UserError("a score is NaN, expected numbers: no rank can be given to it")
    if not np.issubdtype(numbers.dtype, np.integer) or not ((numbers >= 0) & (numbers < table.shape[1])).all():
        raise UserError(f"a target is none of the class numbers 0 to {table.shape[1] - 1}")
    own = np.take_along_axis(table, numbers[:, None], axis=1)
    earlier = np.arange(table.shape[1]) < numbers[:, None]
    return np.asarray(((table > own) | ((table == own) & earlier)).sum(axis=1))


def top_k_accuracy(scores: npt.ArrayLike, targets: npt.ArrayLike, k: int = 1) -> float:
    """The fraction of images whose target is among the k classes of highest score.

    Shape:
        as `class_ranks`.

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
    """The fraction of images whose class is among the first k and whose box of that class is right.

    With ``k`` None the class is taken as known: GT-known Loc.

    Shape:
        one box (4,) xyxy of the image's class, or None where none was found, one (n, 4) array of true boxes, and the
        place of the class from 0 on an image.

    Raises:
        UserError: lengths differ, nothing was given, or a setting is out of range.

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


class TopKAccuracy(HitMetric):
    """How often the class of an image is among the k of highest score, over images of exactly one class.

    Each image counts alike. A class that ``found.scores`` does not name has no rank and is missed; images without any
    score are counted in the note. A k that all classes fit into is left out. The baseline is chance, k of all
    classes. Keeps four counters a class and k, and two a replicate.

    >>> from wsl.boxes import Boxes
    >>> metric = TopKAccuracy(["cat", "dog", "emu"], ks=(1, 2))
    >>> found = Localization(path="a.jpg", size=(4, 4), scores={"cat": 0.6, "dog": 0.3}, boxes=Boxes.empty())
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"]))
    >>> [(metric.name, metric.value) for metric in metric.compute()]
    [('top-1', 0.0), ('top-2', 1.0)]
    """

    missing: torch.Tensor

    def __init__(
        self, classes: Sequence[str], ks: Sequence[int] = (1, 5), *, report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        _require_k(ks)
        kept = tuple(k for k in ks if k < len(classes))
        super().__init__(classes, report_classes, columns=len(kept), **settings)
        self.ks = kept
        self._add_counter("missing")

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the scores of one image.

        Raises:
            UserError: a score is NaN or a label is none of the classes.
        """
        self._mean.require((*sample.labels, *sample.ignored), sample.path)
        if len(sample.labels) != 1 or sample.ignored:
            return
        (label,) = sample.labels
        rank = _rank(found, label, self._mean.classes)
        self.missing += not found.scores
        self._count(sample, label, [rank < k for k in self.ks], baseline=[False for _ in self.ks])

    def compute(self) -> tuple[Metric, ...]:
        """One metric a k; no value when no image came with a score."""
        note = "images of one class" + (f"; {int(self.missing)} without scores: misses" if self.missing else "")
        measured = [bool(self.missing < trials) for trials in self.trials.sum(dim=0)]
        metrics = [
            self._rates(f"top-{k}", column, measured=measured[column], pooled=True, note=note)
            for column, k in enumerate(self.ks)
        ]
        chance = [k / len(self._mean.classes) for k in self.ks]
        return tuple(
            replace(metric, baseline=None if metric.value is None else value)
            for metric, value in zip(metrics, chance, strict=True)
        )


class TopKLoc(HitMetric):
    """GT-known Loc, and with the class among the first k as well: Top-1 Loc, Top-5 Loc.

    A trial is an (image, class) pair: each class in ``sample.labels`` that has a box; each counts alike, as the
    benchmarks of one class an image have it. Of the boxes found for the class the one of highest score must reach
    the IoU with any instance of it. A pair without a box or rank is a miss, and the note counts the former. Baseline
    and whole image take the same classes with `centre_box` and `whole_box`. Keeps four counters a class and number,
    and two a replicate.

    >>> from wsl.boxes import Boxes
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = TopKLoc(["cat", "dog"], ks=(1,))
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={"cat": 0.6, "dog": 0.3}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(metric.name, metric.value) for metric in metric.compute()]
    [('GT-known Loc', 1.0), ('Top-1 Loc', 0.0)]
    """

    missing: torch.Tensor
    unranked: torch.Tensor

    def __init__(
        self,
        classes: Sequence[str],
        ks: Sequence[int] = (1, 5),
        iou_threshold: float = 0.5,
        *,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        _require_k(ks)
        require_iou_threshold(iou_threshold)
        kept = tuple(k for k in ks if k < len(classes))
        super().__init__(classes, report_classes, columns=1 + len(kept), **settings)
        self.ks, self.iou_threshold = kept, iou_threshold
        self._add_counter("missing")
        self._add_counter("unranked")

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the scores and boxes of one image.

        Raises:
            UserError: the sample has no annotated boxes, a score is NaN, or a label is none of the classes.
        """
        ground_truth = annotated_boxes(sample)
        self._mean.require(sample.labels, sample.path)
        for label in sample.labels:
            instances, best = ground_truth.of(label).xyxy, found.boxes.best(label)
            if not len(instances):
                continue
            rank = _rank(found, label, self._mean.classes)
            ranked = [True, *(rank < k for k in self.ks)]
            found_box = np.zeros(4) if best is None else best
            candidates = np.stack([found_box, centre_box(found.size), whole_box(found.size)])
            right, centre, whole = (best_iou(candidates, instances) >= self.iou_threshold).tolist()
            self.missing += best is None
            self.unranked += not found.scores
            self._count(
                sample,
                label,
                [right and first for first in ranked],
                baseline=[centre and first for first in ranked],
                whole=[whole and first for first in ranked],
            )

    def compute(self) -> tuple[Metric, ...]:
        """GT-known Loc, then one metric a k; no value when no pair came with a box, or none with a score."""
        note = "(image, class) pairs" + (f"; {int(self.missing)} missing: misses" if self.missing else "")
        trials = self.trials[:, 0].sum()
        boxed, ranked = bool(self.missing < trials), bool(self.unranked < trials)
        names = ["GT-known Loc", *(f"Top-{k} Loc" for k in self.ks)]
        return tuple(
            self._rates(name, i, measured=boxed and (ranked or i == 0), pooled=True, whole=True, note=note)
            for i, name in enumerate(names)
        )


def _rank(found: Localization, label: str, classes: Sequence[str]) -> int:
    """The place of a class among all; behind all of them where it has no score."""
    for name, score in found.scores.items():
        if math.isnan(score):
            raise UserError(f"{found.path}: the score of {name!r} is NaN, expected a number: localize it again")
    if label not in found.scores:
        return len(classes)
    scores = [found.scores.get(name, -math.inf) for name in classes]
    return int(class_ranks([scores], [classes.index(label)])[0])


def _require_k(ks: Sequence[int]) -> None:
    if not ks or min(ks) < 1:
        raise UserError(f"k is {tuple(ks)}, expected numbers of classes, each 1 or more: try 1 and 5")
