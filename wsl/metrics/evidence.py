"""Predictions and ground truth of one image, as read by metrics and baselines; each quantity is computed once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, TypeVarTuple

import numpy as np
import numpy.typing as npt

from wsl import maps
from wsl.boxes import BoolArray, Boxes, FloatArray
from wsl.centre import centre_box, centre_gaussian, whole_box
from wsl.errors import UserError
from wsl.maps.by_threshold import Rule, ThresholdBoxes, threshold_boxes
from wsl.metrics.annotated_masks import Classes, pixel_classes
from wsl.metrics.overlap import best_iou, box_iou
from wsl.results import Localization
from wsl.samples import Sample

T = TypeVar("T")
Args = TypeVarTuple("Args")
Point = tuple[float, float]
View = Literal["found", "centre", "whole"]
"""Whose predictions are measured: those of the method, or a baseline's."""
SWEPT = 1000
"""A map's boxes are computed once for all metrics, at the thresholds i / 1000."""


class Detections(NamedTuple):
    """Boxes of known classes as arrays: (n, 4), class numbers (n,), scores (n,), and whether they are difficult."""

    xyxy: FloatArray
    labels: npt.NDArray[np.int32]
    scores: FloatArray
    difficult: BoolArray


def _once(*, shared: bool = False) -> Callable[[Callable[[Any, *Args], T]], Callable[[Any, *Args], T]]:
    """A decorator that keeps the results of a method by `Evidence.once`."""

    def decorate(method: Callable[[Any, *Args], T]) -> Callable[[Any, *Args], T]:
        @functools.wraps(method)
        def kept(self: Any, *args: *Args) -> T:
            value: T = self.once((method.__name__, *args), lambda: method(self, *args), shared=shared)
            return value

        return kept

    return decorate


class Evidence:
    """The predictions for an image and its ground truth.

    `Centre` and `Whole` replace the predictions by a baseline.

    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=Boxes.empty(), points={"dog": (1, 2)})
    >>> seen = Evidence(found, Sample(path="a.jpg", labels=["dog"]), {"dog": 0})
    >>> seen.point("dog"), Centre.of(seen).point("dog")
    ((1, 2), (44.5, 44.5))
    """

    view: ClassVar[View] = "found"

    def __init__(
        self, found: Localization, sample: Sample, index: Mapping[str, int], shared: dict[Any, Any] | None = None
    ) -> None:
        self.found, self.sample, self.index = found, sample, index
        # Quantities of the ground truth alone are the same in every view of the image.
        self._shared = {} if shared is None else shared
        self._shared[type(self)] = self
        self._own: dict[Any, Any] = {}

    @property
    def blind(self) -> bool:
        """Whether a baseline replaces the predictions."""
        return self.view != "found"

    @classmethod
    def of(cls, other: Evidence) -> Evidence:
        """The same image in this view."""
        return other.once(cls, lambda: cls(other.found, other.sample, other.index, other._shared), shared=True)

    @property
    def ground_truth(self) -> Boxes:
        """The true boxes.

        Raises:
            UserError: no boxes are annotated in this image.
        """
        boxes = self.sample.boxes
        if boxes is None:
            raise UserError(
                f"{self.sample.path}: no boxes are annotated, expected some (or an empty list): leave the image out"
            )
        return boxes

    @property
    def pairs(self) -> list[str]:
        """The classes of the image that have a box."""
        return [label for label in self.sample.labels if len(self.truth(label))]

    @_once(shared=True)
    def truth(self, label: str) -> Boxes:
        """The true boxes of a class."""
        return self.ground_truth.of(label)

    @_once()
    def box(self, label: str) -> npt.NDArray[Any] | None:
        """The highest-scored box predicted for a class; None if there is none."""
        return self.found.boxes.best(label)

    @_once()
    def overlap(self, label: str) -> float:
        """The highest IoU of that box with a true box of the class; 0 if there is none."""
        box = self.box(label)
        return 0.0 if box is None else float(best_iou(box, self.truth(label).xyxy)[0])

    @_once()
    def point(self, label: str) -> Point | None:
        """The predicted point of a class, else the peak of its map; None without either.

        Raises:
            UserError: the point is not finite.
        """
        if label not in self.found.points:
            score_map = self.score_map(label)
            return None if score_map is None else maps.peak(score_map, self.found.size)
        x, y = self.found.points[label]
        if not (math.isfinite(x) and math.isfinite(y)):
            raise UserError(f"{self.found.path}: the point of {label!r} is ({x}, {y}), expected finite numbers")
        return x, y

    @_once()
    def score_map(self, label: str) -> FloatArray | None:
        """The map of a class, (h, w); None if there is none, or it is not finite."""
        score_map = (self.found.maps or {}).get(label)
        return None if score_map is None or not np.isfinite(score_map).all() else score_map

    @_once()
    def heat(self, label: str) -> FloatArray | None:
        """The map of a class at the image's size, in [0, 1]."""
        score_map = self.score_map(label)
        return None if score_map is None else maps.heatmap(score_map, self.found.size)

    def swept(self, label: str, count: int, rule: Rule) -> npt.NDArray[np.float64]:
        """The best IoU of the class's map, which must exist, with a true box at the thresholds i / ``count``."""
        step, rest = divmod(SWEPT, count)
        boxes = self._boxes(label, count if rest else SWEPT)
        overlaps: npt.NDArray[np.float64] = boxes.best_iou(self.truth(label).xyxy, rule)[:: 1 if rest else step]
        return overlaps

    @_once()
    def _boxes(self, label: str, count: int) -> ThresholdBoxes:
        score_map = self.score_map(label)
        assert score_map is not None
        return threshold_boxes(score_map, np.arange(count) / count, size=self.found.size)

    def rank(self, label: str) -> int:
        """The rank of a class among all by its score, 0 for the first; after all others if it has no score.

        Raises:
            UserError: a score is NaN.
        """
        if label not in self.scores:
            return len(self.index)
        number = self.index[label]
        table = self._table
        return int((table > table[number]).sum() + (table[:number] == table[number]).sum())

    @functools.cached_property
    def _table(self) -> npt.NDArray[np.float64]:
        return np.array([self.scores.get(name, -math.inf) for name in self.index])

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """The scores of the image's classes.

        Raises:
            UserError: one of them is NaN.
        """
        for label, score in self.found.scores.items():
            if math.isnan(score):
                raise UserError(
                    f"{self.found.path}: the score of {label!r} is NaN, expected a number: localize it again"
                )
        return dict(self.found.scores)

    @functools.cached_property
    def detections(self) -> Detections:
        """The predicted boxes of all known classes, except classes that were not annotated in this image.

        If classes are verified to be absent (`Sample.negatives`), boxes of any other class that is not labelled are
        neither correct nor wrong.
        """
        sample, boxes = self.sample, self.found.boxes
        if sample.negatives is not None:
            looked_for = {*sample.labels, *sample.ignored, *sample.negatives}
            boxes = boxes.select(np.array([name in looked_for for name in boxes.labels], np.bool_))
        return self._as_arrays(boxes)

    def may_lack_boxes(self, labels: npt.NDArray[np.int32]) -> BoolArray:
        """Which of some class numbers belong to classes that are `Sample.not_exhaustive`.

        Boxes of these beyond the annotated ones may be real: they are neither correct nor wrong, as in LVIS's API.
        """
        names = [self.index[name] for name in self.sample.not_exhaustive if name in self.index]
        return np.isin(labels, np.array(names, np.int32))

    @property
    @_once(shared=True)
    def true_detections(self) -> Detections:
        """All true boxes."""
        return self._as_arrays(self.ground_truth)

    @functools.cached_property
    def ious(self) -> npt.NDArray[np.float64]:
        """The IoU of each of `detections` with each of `true_detections`, (n, m); -1 if the classes differ."""
        found, truth = self.detections, self.true_detections
        same = found.labels[:, None] == truth.labels
        return np.where(same, box_iou(found.xyxy, truth.xyxy), -1) if same.any() else np.where(same, 0.0, -1.0)

    def pixels(self, resolution: tuple[int, int] | None = None) -> Classes:
        """The true class of each pixel, as returned by `pixel_classes`.

        Raises:
            UserError: the sample has no mask, or one that does not fit.
        """
        return self.once(
            ("pixels", resolution),
            lambda: pixel_classes(self.sample, tuple(self.index), self.found.size, resolution),
            shared=True,
        )

    @property
    @_once(shared=True)
    def areas(self) -> npt.NDArray[np.int64]:
        """The number of pixels of the background and of each class that are not ignored, (1 + classes,)."""
        return np.bincount(self.pixels().ravel() + 1, minlength=2 + len(self.index))[1:]

    def _as_arrays(self, boxes: Boxes) -> Detections:
        numbers = np.array([self.index.get(label, -1) for label in boxes.labels], np.int32)
        known = numbers >= 0
        if known.all():
            return Detections(boxes.xyxy, numbers, boxes.scores, boxes.difficult)
        return Detections(boxes.xyxy[known], numbers[known], boxes.scores[known], boxes.difficult[known])

    def once(self, key: Any, compute: Callable[[], T], *, shared: bool = False) -> T:
        """A quantity that is computed on first use; a ``shared`` one is the same in every view."""
        store = self._shared if shared else self._own
        if key not in store:
            store[key] = compute()
        kept: T = store[key]
        return kept


class _Blind(Evidence):
    """A baseline: one box for each predicted class, with its score, and no map."""

    def box(self, label: str) -> npt.NDArray[Any] | None:
        raise NotImplementedError

    def score_map(self, label: str) -> None:
        """None: the baseline does not see the predictions."""

    def point(self, label: str) -> Point | None:
        """None, unless a subclass defines a point."""
        return None

    @functools.cached_property
    def detections(self) -> Detections:
        mine = Evidence.of(self).detections
        labels = np.unique(mine.labels)
        best = [float(mine.scores[mine.labels == number].max()) for number in labels]
        of = {number: label for label, number in self.index.items()}
        names = [of[number] for number in labels.tolist()]
        scores = [self.found.scores.get(name, score) for name, score in zip(names, best, strict=True)]
        xyxy = np.array([self.box(name) for name in names], np.float32).reshape(-1, 4)
        return Detections(xyxy, labels, np.array(scores, np.float32), np.zeros(len(labels), np.bool_))


class Centre(_Blind):
    """The centre baseline: a box of 0.7 of each side, the middle as a point, a Gaussian as a map."""

    view = "centre"

    def box(self, label: str) -> npt.NDArray[Any]:
        """The centred box, which is the same for every class."""
        return self.once("box", lambda: centre_box(self.found.size))

    def point(self, label: str) -> Point:
        """The centre of the image, which is the same for every class."""
        return (self.found.size[0] - 1) / 2, (self.found.size[1] - 1) / 2

    def heat(self, label: str) -> FloatArray:
        """The centred Gaussian, which is the same for every class."""
        return centre_gaussian(self.found.size)


class Whole(_Blind):
    """The whole-image baseline: the image as one box; in metrics of masks, every pixel."""

    view = "whole"

    def box(self, label: str) -> npt.NDArray[Any]:
        """The box of the whole image, which is the same for every class."""
        return self.once("box", lambda: whole_box(self.found.size))
