"""The pointing game: whether the peak of a map lies on the object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.annotated_masks import class_pixels
from wsl.metrics.evidence import Evidence, Point
from wsl.metrics.overlap import as_xyxy, require_point
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.results import Metric

Subset = Literal["all", "difficult"]


def pointing_hit(point: Point, boxes: npt.ArrayLike, tolerance: float = 15) -> bool:
    """Whether some pixel of the boxes is less than ``tolerance`` pixels from the point.

    Point and pixels are positions on the grid of pixel indices: a half-open box covers the pixels x0 … x1 - 1 (or
    those it touches, if its corners are fractional), and the distance to a box is that to its nearest pixel. For
    integers this is TorchRay's test, a disc around the point against the mask of the boxes; a box without area covers
    no pixel.

    Shape:
        ``point`` is (x, y) in pixels, ``boxes`` (n, 4) xyxy.

    Raises:
        UserError: the point or a box is not finite, or the tolerance is not positive.

    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016, section 4.1;
    Fong et al., Understanding Deep Networks via Extremal Perturbations, ICCV 2019 (TorchRay).

    >>> box = [[20, 20, 30, 30]]
    >>> pointing_hit((43, 25), box), pointing_hit((44, 25), box)  # the last pixel is 29
    (True, False)
    """
    _check_point(point, tolerance)
    xyxy = as_xyxy(boxes)
    xyxy = xyxy[(xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)]
    first, last = np.floor(xyxy[:, :2]), np.ceil(xyxy[:, 2:]) - 1
    nearest = np.clip(np.rint(point), first, last)
    return bool((((nearest - point) ** 2).sum(axis=1) < tolerance**2).any())


def pointing_hit_pixels(point: Point, pixels: npt.ArrayLike, tolerance: float = 15) -> bool:
    """Whether some true pixel of a mask is less than ``tolerance`` pixels from the point.

    Shape:
        ``point`` is (x, y) in pixels, ``pixels`` (H, W).

    Raises:
        UserError: the point is not finite, the tolerance is not positive, or the pixels are not a mask.

    Source: as for `pointing_hit`, on data sets with outlined objects.

    >>> mask = np.zeros((50, 50), bool)
    >>> mask[20:30, 20:30] = True
    >>> pointing_hit_pixels((43, 25), mask), pointing_hit_pixels((44, 25), mask)
    (True, False)
    """
    _check_point(point, tolerance)
    mask = as_numbers(pixels, "pixels", None)
    if mask.ndim != 2:
        raise UserError(f"pixels have shape {mask.shape}, expected a mask (H, W)")
    x, y = point
    left, top = (max(math.ceil(position - tolerance), 0) for position in point)
    near = mask[top : max(math.floor(y + tolerance) + 1, 0), left : max(math.floor(x + tolerance) + 1, 0)]
    rows, columns = np.nonzero(near)
    return bool(((columns + left - x) ** 2 + (rows + top - y) ** 2 < tolerance**2).any())


def pointing_accuracy(points: Sequence[Point | None], boxes: Sequence[npt.ArrayLike], tolerance: float = 15) -> float:
    """The fraction of points that hit the boxes of their image; a point that is None misses.

    Shape:
        One point (x, y) and one (n, 4) xyxy array per image.

    Raises:
        UserError: lengths differ or are 0.

    >>> pointing_accuracy([(5, 5), None], [[[0, 0, 9, 9]], [[0, 0, 9, 9]]])
    0.5
    """
    if len(points) != len(boxes) or not points:
        raise UserError(f"{len(points)} points with boxes of {len(boxes)} images, expected as many, at least 1")
    hits = (point is not None and pointing_hit(point, of, tolerance) for point, of in zip(points, boxes, strict=True))
    return sum(hits) / len(points)


def is_small_among_others(label: str, boxes: Boxes, size: tuple[int, int]) -> bool:
    """Whether a pair belongs to the difficult subset: the class covers little of the image, and others are present.

    Little means that all boxes of the class together cover less than a quarter of the image; another class is present
    if it has any box.

    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016, section 4.1.

    >>> boxes = Boxes(xyxy=[[0, 0, 10, 10], [0, 0, 4, 4]], labels=["cat", "dog"])
    >>> is_small_among_others("dog", boxes, (10, 10)), is_small_among_others("cat", boxes, (10, 10))
    (True, False)
    """
    covered = np.zeros((size[1], size[0]), np.bool_)
    for x0, y0, x1, y1 in boxes.of(label).xyxy.clip(0):
        covered[int(y0) : math.ceil(y1), int(x0) : math.ceil(x1)] = True
    return bool(4 * covered.sum() < covered.size) and len(set(boxes.labels)) > 1


def _check_point(point: Point, tolerance: float) -> None:
    if not tolerance > 0:
        raise UserError(f"pointing tolerance is {tolerance}, expected a positive number of pixels: try 15")
    require_point(point)


class PointingGame(Statistic):
    """Accuracy of the peak of each class map, averaged over classes and over all pairs.

    A trial is an (image, class) pair: each class in ``sample.labels`` that has a box, which excludes classes whose
    boxes are all difficult. All boxes of the class are ground truth, including difficult ones, as in TorchRay; if the
    sample has outlines, as in COCO, their pixels are used instead, and the note counts those pairs. The point is
    ``found.points[class]``, else the peak of ``found.maps[class]`` at the image's own size. A pair without a point, or
    with a map that is not finite, is a miss, and the note counts them. The baseline points at the image's centre. With
    ``subset="difficult"`` only pairs of `is_small_among_others` are trials.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> game = PointingGame(["dog"])
    >>> sample = Sample(path="a.jpg", labels=["dog"], boxes=Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"]))
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=Boxes.empty(), points={"dog": (12, 3)})
    >>> game.update(found, sample)
    >>> [(metric.name, metric.value, metric.baseline) for metric in game.compute()]
    [('pointing', 1.0, 0.0), ('pointing (pairs)', 1.0, 0.0)]
    """

    reads_boxes = False
    needs = "boxes"
    views = ("found", "centre")
    columns, drawn_columns = 2, 1

    def __init__(self, classes: Sequence[str], tolerance: float = 15, subset: Subset = "all", **settings: Any) -> None:
        if subset not in get_args(Subset):
            raise UserError(f"subset is {subset!r}, expected all or difficult")
        _check_point((0, 0), tolerance)
        super().__init__(classes, **settings)
        self.tolerance = tolerance
        self.subset: Subset = subset

    def observe(self, seen: Evidence) -> Observation:
        """Whether each class's point hits, and whether outlines were used."""
        rows = []
        for label in seen.pairs:
            if self.subset == "all" or is_small_among_others(label, seen.ground_truth, seen.found.size):
                point, outlined = seen.point(label), seen.sample.outlines is not None
                rows.append(Row(label, [point is not None and self._hits(point, seen, label), outlined], point is None))
        return Observation(rows)

    def _hits(self, point: Point, seen: Evidence, label: str) -> bool:
        if seen.sample.outlines is None:
            return pointing_hit(point, seen.truth(label).xyxy, self.tolerance)
        return pointing_hit_pixels(point, class_pixels(seen.sample, label, seen.found.size), self.tolerance)

    def report(self, totals: Totals) -> tuple[Metric, Metric]:
        """The mean over classes, then the accuracy over all pairs; no value if no pair has a point."""
        outlined = int(totals.sums()[:, 1].sum())
        note = self.note(totals, *([f"{outlined} against outlines"] if outlined else []))
        names = ("pointing", "pointing (pairs)")
        if self.subset == "difficult":
            names = ("pointing (difficult)", "pointing (difficult pairs)")
        by_pair = self.rate(totals, names[1], pooled=True, note=note)
        # The values by class are the same for both.
        return self.rate(totals, names[0], note=note), replace(by_pair, per_class={})
