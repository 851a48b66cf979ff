"""All thresholds of a map in one pass, by the default protocol: float thresholds, half-open boxes, components only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.boxes import Boxes, FloatArray
from wsl.errors import UserError
from wsl.maps.boxes import ExtractedBoxes, Rule, check_rule, nested, nested_thresholds, ranked
from wsl.maps.resolution import as_thresholds, to_pixels, working_heatmap
from wsl.stopwatch import stage

if TYPE_CHECKING:
    from wsl.maps.tree.records import Components

Candidates = Literal["largest", "all"]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdSweep:
    """The connected components of one class map at every threshold, as returned by `threshold_sweep`.

    ``heatmap`` is the normalised map to which thresholds apply, ``size`` the (width, height) of the image in whose
    pixels boxes are given, ``values`` the distinct values of the heatmap in ascending order. ``components`` lists each
    component with the values between which it is present. ``largest_components`` has a row for each value but the
    highest: the largest component of the pixels above it.
    """

    heatmap: FloatArray
    size: tuple[int, int]
    values: FloatArray
    components: Components
    largest_components: Components

    def largest(self, thresholds: npt.ArrayLike) -> FloatArray:
        """The box of the largest component at each threshold, by rule ``largest``; zeros if there is none.

        Shape:
            (T,) fractions in [0, 1] in any order to (T, 4), xyxy.

        Raises:
            UserError: a threshold is out of range.

        >>> threshold_sweep([[0, 2, 4, 1]]).largest([0, 0.3, 0.6, 1.0]).tolist()
        [[1.0, 0.0, 4.0, 1.0], [1.0, 0.0, 3.0, 1.0], [2.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
        """
        below = self._below(as_thresholds(thresholds))
        boxes = np.zeros((len(below), 4), np.float32)
        some = below < len(self.values) - 1
        boxes[some] = to_pixels(self.largest_components.xyxy[below[some]], self.heatmap, self.size)
        return boxes

    def peak(self, thresholds: npt.ArrayLike) -> FloatArray:
        """The box of the component that holds the maximum at each threshold, by rule ``peak``; zeros if there is none.

        Shape:
            (T,) fractions in [0, 1] in any order to (T, 4), xyxy.

        Raises:
            UserError: a threshold is out of range.

        >>> threshold_sweep([[2, 2, 0, 4]]).peak([0, 0.6, 1.0]).tolist()
        [[3.0, 0.0, 4.0, 1.0], [3.0, 0.0, 4.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
        """
        below = self._below(as_thresholds(thresholds))
        boxes = np.zeros((len(below), 4), np.float32)
        some = below < len(self.values) - 1
        # At each value exactly one component holds the maximum, so its states are consecutive.
        holding = np.flatnonzero(self.components.peaks == self.heatmap.argmax())
        holding = holding[np.argsort(self.components.until[holding])]
        at = holding[np.searchsorted(self.components.until[holding], below[some], side="right") - 1]
        boxes[some] = to_pixels(self.components.xyxy[at], self.heatmap, self.size)
        return boxes

    def boxes(self, threshold: float, rule: Rule = "largest", *, label: str = "", min_area: float = 0.001) -> Boxes:
        """The boxes that `boxes_from_map` returns at a threshold, without another pass over the map.

        Raises:
            UserError: an argument is out of range.

        >>> threshold_sweep([[0, 2, 4, 1]]).boxes(0.3).xyxy.tolist()
        [[1.0, 0.0, 3.0, 1.0]]
        """
        check_rule(threshold, rule, min_area)
        if rule == "nested":
            levels = [self.boxes(one, "all", min_area=min_area) for one in nested_thresholds(threshold)]
            found = nested([ExtractedBoxes(boxes.xyxy, boxes.scores) for boxes in levels])
            return Boxes(xyxy=found.xyxy, labels=(label,) * len(found.scores), scores=found.scores)
        below = int(self._below(np.array([threshold]))[0])
        present = self.components.at(below)
        if not len(present):
            return Boxes.empty()
        xyxy, peaks, areas = present.xyxy, present.peaks, present.areas
        if rule == "peak":
            chosen = np.flatnonzero(peaks == self.heatmap.argmax())
        elif rule == "largest":
            chosen = np.lexsort((present.firsts, xyxy[:, 0], xyxy[:, 1], -areas))[:1]
        else:
            chosen = np.flatnonzero(areas >= min_area * self.heatmap.size)
        scores = self.heatmap.ravel()[peaks[chosen]]
        return ranked(to_pixels(xyxy[chosen], self.heatmap, self.size), scores, label)

    def of_area(self, min_area: float) -> ThresholdSweep:
        """The sweep without the components smaller than a fraction of the map: for many calls of `boxes` with it.

        >>> sweep = threshold_sweep([[0, 2, 4, 1]])
        >>> sweep.of_area(0.5).boxes(0.3, "all", min_area=0.5).xyxy.tolist()
        [[1.0, 0.0, 3.0, 1.0]]
        """
        return replace(self, components=self.components.of_area(min_area * self.heatmap.size))

    def best_iou(self, boxes: npt.ArrayLike, thresholds: npt.ArrayLike, candidates: Candidates = "largest") -> Doubles:
        """The highest IoU of a candidate with any of the boxes at each threshold; 0 if there is no candidate.

        Shape:
            (n, 4) xyxy, half-open, in pixels, and (T,) fractions in [0, 1] in any order to (T,).

        Raises:
            UserError: a box is inverted or not finite, or a threshold is out of range.

        >>> threshold_sweep([[0, 2, 4, 1]]).best_iou([1, 0, 3, 1], [0, 0.3, 0.6, 1.0]).round(3).tolist()
        [0.667, 1.0, 0.5, 0.0]
        """
        from wsl.maps.tree.overlap import raise_to_best_iou

        ground_truth, cuts = as_ground_truth(boxes), as_thresholds(thresholds)
        check_candidates(candidates)
        if candidates == "largest":
            found, low = self.largest(cuts), np.arange(len(cuts))
            high = low + (found[:, 2] > found[:, 0])
            best = np.zeros(len(cuts))
            raise_to_best_iou(best, found.astype(np.float64), low, high, ground_truth, 0.0)
            return best
        distinct, place = np.unique(cuts.astype(np.float32), return_inverse=True)
        low, high = (
            np.searchsorted(distinct, self.values[at]) for at in (self.components.until, self.components.since)
        )
        # Most components appear and disappear between two neighbouring thresholds.
        seen = low < high
        every = to_pixels(self.components.xyxy[seen], self.heatmap, self.size)
        best = np.zeros(len(distinct))
        raise_to_best_iou(best, every.astype(np.float64), low[seen], high[seen], ground_truth, 0.0)
        return np.asarray(best[place])

    def _below(self, thresholds: Doubles) -> npt.NDArray[np.intp]:
        """The index of the highest value that does not exceed each threshold."""
        return np.searchsorted(self.values, thresholds.astype(np.float32), side="right") - 1


def threshold_sweep(
    score_map: npt.ArrayLike, *, size: tuple[int, int] | None = None, resolution: int = 256
) -> ThresholdSweep:
    """The connected components of one class map at every threshold, in one pass over its sorted pixels.

    The map is resized and normalised as by `boxes_from_map`. Pixels above a threshold, compared as floats, are
    foreground; their 8-connected components are the candidates, and boxes are half-open. (The WSOL benchmark differs
    in each of these: see `overlaps`.) A map without contrast (constant, NaN, infinite) has no components.

    Shape:
        ``score_map`` is (h, w) and covers the image; ``size`` is (width, height) of the image in pixels, the unit
        of the boxes. Without it the unit is the map's cell.

    Raises:
        UserError: an argument has another shape or lies out of range.

    >>> sweep = threshold_sweep([[0, 9, 0, 0], [0, 8, 0, 4]])
    >>> [len(sweep.boxes(threshold, rule="all")) for threshold in (0.2, 0.5)]
    [2, 1]
    """
    from wsl.maps.tree.components import component_records
    from wsl.maps.tree.neighbourhoods import neighbourhoods_of
    from wsl.maps.tree.ordering import order_by_value
    from wsl.maps.tree.records import Components, stride_of

    heat, size = working_heatmap(score_map, size, resolution)
    stride = stride_of(heat)
    with stage("sweep"):
        order, offsets, values = order_by_value(heat, stride)
        records, largest = component_records(order, offsets, neighbourhoods_of(heat, stride), stride, True, False)
        components, largest_components = (Components(rows, stride, heat.shape[1]) for rows in (records, largest))
    return ThresholdSweep(
        heatmap=heat, size=size, values=values, components=components, largest_components=largest_components
    )


def components_at(heat: FloatArray, thresholds: FloatArray, *, pick: bool) -> tuple[Components, Components]:
    """The components of a normalised map at ascending thresholds, and with ``pick`` the largest at each.

    ``since`` and ``until`` count thresholds: a component is present at thresholds ``until`` to ``since`` - 1. If there
    is no largest component, its ``areas`` is 0.

    >>> components, largest = components_at(np.float32([[0, 1, 0, 0.5]]), np.float32([0.2, 0.7]), pick=True)
    >>> components.xyxy.tolist(), components.until.tolist(), components.since.tolist()
    ([[1, 0, 2, 1], [3, 0, 4, 1]], [0, 0], [2, 1])
    """
    from wsl.maps.tree.components import component_records
    from wsl.maps.tree.neighbourhoods import neighbourhoods_of
    from wsl.maps.tree.ordering import order_by_level, threshold_levels
    from wsl.maps.tree.records import Components, stride_of

    stride = stride_of(heat)
    with stage("sweep"):
        levels = threshold_levels(heat, thresholds)
        order, offsets = order_by_level(levels, len(thresholds) + 1, stride)
        records, largest = component_records(order, offsets, neighbourhoods_of(levels, stride), stride, pick, False)
        return Components(records, stride, heat.shape[1]), Components(largest, stride, heat.shape[1])


def as_ground_truth(boxes: npt.ArrayLike) -> Doubles:
    """Ground-truth boxes as an (n, 4) array of doubles; one box may be given as (4,), none as an empty list.

    A box may extend outside the map: its whole area counts.

    Raises:
        UserError: the shape is another one, a number is not finite, or a box is inverted.

    >>> as_ground_truth([0, 0, 1, 1]).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    xyxy = as_numbers(boxes, "boxes")
    xyxy = np.empty((0, 4)) if xyxy.size == 0 else np.atleast_2d(xyxy)
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise UserError(f"boxes have shape {xyxy.shape}, expected (n, 4) as x0, y0, x1, y1")
    if not np.isfinite(xyxy).all():
        raise UserError("a box coordinate is not finite: expected numbers")
    inverted = (xyxy[:, 2:] < xyxy[:, :2]).any(axis=1)
    if inverted.any():
        raise UserError(f"box {xyxy[inverted][0].tolist()} is inverted: expected (x0, y0, x1, y1), x0 <= x1, y0 <= y1")
    return xyxy


def check_candidates(candidates: str) -> None:
    """Refuse an unknown choice of candidates.

    Raises:
        UserError: the choice is unknown; the message names the known ones.

    >>> check_candidates("all")
    """
    if candidates not in get_args(Candidates):
        raise UserError(f"candidates are {candidates!r}, expected largest or all")
