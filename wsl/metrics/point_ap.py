"""Average precision of localization by point: whether correct points score higher than wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.metrics.evidence import Evidence, Point
from wsl.metrics.overlap import as_xyxy, require_point
from wsl.metrics.ranked import EXPECTED, RANKED, RankingStatistic
from wsl.metrics.ranking import Method, ranking_ap
from wsl.metrics.statistic import Observation, Totals
from wsl.results import Metric


def point_within(point: Point, boxes: npt.ArrayLike, tolerance: float = 18) -> bool:
    """Whether the point lies in a box extended by ``tolerance`` pixels on each side.

    Point and pixels are positions on the grid of pixel indices, as for `pointing_hit`; a distance equal to the
    tolerance is still inside.

    Shape:
        ``point`` is (x, y) in pixels, ``boxes`` (n, 4) xyxy.

    Raises:
        UserError: the point or a box is not finite, or the tolerance is negative.

    Source: Oquab et al., Is Object Localization for Free?, CVPR 2015, section 5.

    >>> point_within((47, 47), [[20, 20, 30, 30]]), point_within((48, 25), [[20, 20, 30, 30]])  # the last pixel is 29
    (True, False)
    """
    if not tolerance >= 0:
        raise UserError(f"point tolerance is {tolerance}, expected a number of pixels, 0 or more: try 18")
    require_point(point)
    xyxy = as_xyxy(boxes)
    xyxy = xyxy[(xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)]
    first, last = np.floor(xyxy[:, :2]) - tolerance, np.ceil(xyxy[:, 2:]) - 1 + tolerance
    return bool(((point >= first) & (point <= last)).all(axis=1).any())


def point_ap(
    points: Sequence[Point | None],
    scores: npt.ArrayLike,
    boxes: Sequence[npt.ArrayLike],
    tolerance: float = 18,
    method: Method = "all-point",
) -> float:
    """Average precision of one class's points, one per image, ranked by the class's score.

    A point is correct if it is `point_within` a box of its image, else wrong, also if the image has no box; each image
    with a box is one positive. A point that is None finds nothing.

    Shape:
        One point (x, y), one score and one (n, 4) xyxy array per image.

    Raises:
        UserError: lengths differ, a number is not finite, or no image has a box.

    >>> point_ap([(5, 5), (5, 5)], [0.9, 0.8], [[], [[0, 0, 9, 9]]])
    0.5
    """
    numbers = as_numbers(scores, "scores")
    if not len(points) == len(boxes) == numbers.size:
        raise UserError(f"{len(points)} points, {numbers.size} scores, boxes of {len(boxes)} images, expected as many")
    images = [as_xyxy(of) for of in boxes]
    positives = sum(len(of) > 0 for of in images)
    if not positives:
        raise UserError("no image has a box: average precision is undefined, leave the class out")
    made = [i for i, point in enumerate(points) if point is not None]
    right = [point_within(point, images[i], tolerance) for i, point in enumerate(points) if point is not None]
    return ranking_ap(numbers[made], right, positives, method)


class PointAP(RankingStatistic):
    """Mean over classes of the AP of localization by point: each image gives a class one point, with its score.

    Every annotated image counts, including those without the class, where the point is wrong. All boxes of the class
    are ground truth, including difficult ones; an image with only difficult ones is left out, as is one that is
    labelled with the class but has no box of it. If the class is `not_exhaustive` in an image, a point there counts
    only if it is correct, because a wrong one may lie on an object without a box. The point is that of `PointingGame`;
    a class without a point or a score finds nothing, and the note counts the present classes among these. ``counts``
    are the images that contain the class. The baseline points at the image's centre with the same scores.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = PointAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={"dog": 1}, boxes=truth, points={"dog": (12, 3)})
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value, metric.compute().baseline
    (1.0, 0.0)
    """

    reads_boxes = False
    needs = "boxes"
    views = ("found", "centre")

    def __init__(
        self,
        classes: Sequence[str],
        tolerance: float = 18,
        method: Method | Sequence[Method] = "all-point",
        **settings: Any,
    ) -> None:
        point_within((0, 0), [], tolerance)
        super().__init__(classes, method, **settings)
        self.tolerance = tolerance

    def observe(self, seen: Evidence) -> Observation:
        """The outcome of each class's point; present classes without a point are counted in ``missing``."""
        found, expected = [], []
        named = {*seen.sample.labels, *seen.sample.unknown(self.mean.index)}
        incomplete = set(seen.sample.not_exhaustive)
        for label, row in self.mean.index.items():
            truth = seen.truth(label)
            if truth.difficult.all() if len(truth) else label in named:
                continue
            score = seen.scores.get(label)
            # A baseline has a point only where the method has one.
            made = score is not None and Evidence.of(seen).point(label) is not None
            if made:
                right = len(truth) > 0 and point_within(seen.point(label), truth.xyxy, self.tolerance)  # type: ignore[arg-type]
                found.append((0, row, score, -1 if label in incomplete and not right else right))
            if len(truth):
                expected.append((0, row, 1, not made))
        records = {} if seen.blind else {"expected": np.array(expected, EXPECTED)}
        return Observation(records={seen.view: np.array(found, RANKED), **records})

    def measured(self, totals: Totals, method: Method) -> Metric:
        """The metric by one rule."""
        missing = int(totals.records("expected")["missing"].sum())
        note = "(image, class) pairs" + (f"; {missing} missing: not found" if missing else "")
        return self.average(totals, self.named("point AP", method), note, method)
