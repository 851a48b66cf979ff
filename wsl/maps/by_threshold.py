"""The boxes of one map at many thresholds, by every rule, from one pass over its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.maps.resolution import as_thresholds, to_pixels, working_heatmap
from wsl.maps.sweep import Doubles, as_ground_truth, components_at

Integers = npt.NDArray[np.intp]
Rule = Literal["largest", "peak", "all"]


@dataclass(frozen=True, slots=True, eq=False)
class ThresholdBoxes:
    """The boxes of a map's components at T thresholds, in pixels of the image.

    ``boxes`` (n, 4) are the boxes of all components; box i is present at thresholds ``low[i]`` to ``high[i] - 1``, in
    ascending order of the thresholds. ``place`` (T,) maps the thresholds as given to that order.

    >>> swept = threshold_boxes([[2, 2, 0, 4]], [0, 0.6, 1.0])
    >>> swept.boxes_by("largest").tolist()
    [[0.0, 0.0, 2.0, 1.0], [3.0, 0.0, 4.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    >>> swept.best_iou([0, 0, 2, 1], "all").tolist(), swept.best_iou([0, 0, 2, 1], "peak").tolist()
    ([1.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    """

    boxes: FloatArray
    low: Integers
    high: Integers
    place: Integers
    largest: FloatArray
    peak: FloatArray

    def boxes_by(self, rule: Literal["largest", "peak"]) -> FloatArray:
        """The box of a rule at each threshold, (T, 4); zeros if no pixel is above it."""
        return (self.largest if rule == "largest" else self.peak)[self.place]

    def best_iou(self, ground_truth: npt.ArrayLike, rule: Rule) -> Doubles:
        """The highest IoU of a rule's boxes with any ground-truth box at each threshold, (T,); 0 if there is no box.

        Shape:
            ``ground_truth`` is (m, 4) xyxy, half-open.

        Raises:
            UserError: a box is inverted or not finite.
        """
        from wsl.maps.tree.overlap import raise_to_best_iou

        truth, best = as_ground_truth(ground_truth), np.zeros(len(self.largest))
        if rule == "all":
            raise_to_best_iou(best, self.boxes.astype(np.float64), self.low, self.high, truth, 0.0)
        else:
            found = (self.largest if rule == "largest" else self.peak).astype(np.float64)
            low = np.arange(len(found))
            raise_to_best_iou(best, found, low, low + (found[:, 2] > found[:, 0]), truth, 0.0)
        return best[self.place]


def threshold_boxes(
    score_map: npt.ArrayLike,
    thresholds: npt.ArrayLike,
    *,
    size: tuple[int, int] | None = None,
    resolution: int = 256,
) -> ThresholdBoxes:
    """The boxes that `boxes_from_map` returns at each threshold, by the rules ``largest``, ``peak`` and ``all``.

    Unlike there, components of any size are counted.

    Shape:
        ``score_map`` is (h, w), ``thresholds`` (T,) in [0, 1] in any order, ``size`` (width, height) of the image.

    Raises:
        UserError: an argument has another shape or lies out of range.

    >>> threshold_boxes([[0, 2, 4, 1]], [0.3], size=(8, 1)).boxes_by("peak").tolist()
    [[2.0, 0.0, 7.0, 1.0]]
    """
    cuts = as_thresholds(thresholds).astype(np.float32)
    heat, size = working_heatmap(score_map, size, resolution)
    # The highest pixels get their own level, so that the first of them is the origin of its component.
    levels = np.unique(np.append(cuts, np.nextafter(np.float32(1), np.float32(0))))
    components, largest = components_at(heat, levels, pick=True)
    boxes = to_pixels(components.xyxy, heat, size)
    low, high = components.until, components.since
    of_largest, of_peak = np.zeros((2, len(levels), 4), np.float32)
    some = largest.areas > 0
    of_largest[some] = to_pixels(largest.xyxy[some], heat, size)
    # At each threshold exactly one component holds the maximum, so its states are consecutive.
    states = np.flatnonzero(components.peaks == heat.argmax())
    states = states[np.argsort(low[states])]
    of_peak[: (high - low)[states].sum()] = np.repeat(boxes[states], (high - low)[states], axis=0)
    return ThresholdBoxes(boxes, low, high, np.searchsorted(levels, cuts), of_largest, of_peak)


def largest_boxes(
    score_map: npt.ArrayLike, thresholds: npt.ArrayLike, *, size: tuple[int, int] | None = None, resolution: int = 256
) -> FloatArray:
    """`ThresholdSweep.largest` for thresholds that are known in advance; several times faster.

    Shape:
        ``score_map`` is (h, w), ``thresholds`` (T,) in [0, 1] in any order, ``size`` (width, height) in pixels;
        the result is (T, 4), xyxy.

    Raises:
        UserError: an argument has another shape or lies out of range.

    >>> largest_boxes([[0, 2, 4, 1]], [0, 0.3, 0.6, 1.0]).tolist()
    [[1.0, 0.0, 4.0, 1.0], [1.0, 0.0, 3.0, 1.0], [2.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return threshold_boxes(score_map, thresholds, size=size, resolution=resolution).boxes_by("largest")
