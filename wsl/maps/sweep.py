"""All thresholds of a map in one pass, by the clean protocol: float thresholds, half-open boxes, components only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes, FloatArray
from wsl.errors import UserError
from wsl.maps.boxes import Rule, check_rule, in_order
from wsl.maps.surface import as_thresholds, surface_of, to_pixels
from wsl.stopwatch import stage

if TYPE_CHECKING:
    from wsl.maps.tree.records import Parts

Candidates = Literal["largest", "all"]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdSweep:
    """The connected parts of one class map at every threshold, by `threshold_sweep`.

    ``surface`` is the normalised map that is cut, ``size`` (width, height) the image in whose pixels boxes are given,
    ``values`` the distinct values of the surface, ascending, and ``parts`` each part at the values between which it
    stands. ``largest_parts`` has a row for each value but the highest: the largest part of what exceeds it.
    """

    surface: FloatArray
    size: tuple[int, int]
    values: FloatArray
    parts: Parts
    largest_parts: Parts

    def largest(self, thresholds: npt.ArrayLike) -> FloatArray:
        """The box of the largest part at each threshold, as rule ``largest`` has it; zeros where there is none.

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
        boxes[some] = to_pixels(self.largest_parts.xyxy[below[some]], self.surface, self.size)
        return boxes

    def peak(self, thresholds: npt.ArrayLike) -> FloatArray:
        """The box of the part that holds the maximum at each threshold, as rule ``peak`` has it; zeros for none.

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
        # One part at a time holds the maximum: its states follow one another from the lowest value to the highest.
        holding = np.flatnonzero(self.parts.peaks == self.surface.argmax())
        holding = holding[np.argsort(self.parts.until[holding])]
        at = holding[np.searchsorted(self.parts.until[holding], below[some], side="right") - 1]
        boxes[some] = to_pixels(self.parts.xyxy[at], self.surface, self.size)
        return boxes

    def boxes(self, threshold: float, rule: Rule = "largest", *, label: str = "", min_area: float = 0.001) -> Boxes:
        """What `boxes_from_map` gives at a threshold, without looking at the map again.

        Raises:
            UserError: an argument is out of range.

        >>> threshold_sweep([[0, 2, 4, 1]]).boxes(0.3).xyxy.tolist()
        [[1.0, 0.0, 3.0, 1.0]]
        """
        check_rule(threshold, rule, min_area)
        below = self._below(np.array([threshold]))[0]
        parts = self.parts
        standing = np.flatnonzero((parts.until <= below) & (below < parts.since))
        if not len(standing):
            return Boxes.empty()
        if rule == "peak":
            chosen = standing[parts.peaks[standing] == self.surface.argmax()]
        elif rule == "largest":
            xyxy = parts.xyxy[standing]
            keys = (parts.firsts[standing], xyxy[:, 0], xyxy[:, 1], -parts.areas[standing])
            chosen = standing[np.lexsort(keys)[:1]]
        else:
            chosen = standing[parts.areas[standing] >= min_area * self.surface.size]
        scores = self.surface.ravel()[parts.peaks[chosen]]
        return in_order(to_pixels(parts.xyxy[chosen], self.surface, self.size), scores, label)

    def best_iou(self, boxes: npt.ArrayLike, thresholds: npt.ArrayLike, candidates: Candidates = "largest") -> Doubles:
        """The highest IoU of a candidate with any of the boxes at each threshold; 0 where there is no candidate.

        Shape:
            (n, 4) xyxy, half-open, in pixels, and (T,) fractions in [0, 1] in any order to (T,).

        Raises:
            UserError: a box is not finite or inverted, or a threshold out of range.

        >>> threshold_sweep([[0, 2, 4, 1]]).best_iou([1, 0, 3, 1], [0, 0.3, 0.6, 1.0]).round(3).tolist()
        [0.667, 1.0, 0.5, 0.0]
        """
        from wsl.maps.tree.overlap import raise_to_best_iou

        truths, cuts = as_truths(boxes), as_thresholds(thresholds)
        check_candidates(candidates)
        if candidates == "largest":
            found, low = self.largest(cuts), np.arange(len(cuts))
            high = low + (found[:, 2] > found[:, 0])
            best = np.zeros(len(cuts))
            raise_to_best_iou(best, found.astype(np.float64), low, high, truths, 0.0)
            return best
        distinct, place = np.unique(cuts.astype(np.float32), return_inverse=True)
        low, high = (np.searchsorted(distinct, self.values[at]) for at in (self.parts.until, self.parts.since))
        # Most parts stand between two thresholds only.
        seen = low < high
        every = to_pixels(self.parts.xyxy[seen], self.surface, self.size)
        best = np.zeros(len(distinct))
        raise_to_best_iou(best, every.astype(np.float64), low[seen], high[seen], truths, 0.0)
        return np.asarray(best[place])

    def _below(self, thresholds: Doubles) -> npt.NDArray[np.intp]:
        """The highest value that each threshold does not cut off, counted from 0."""
        return np.searchsorted(self.values, thresholds.astype(np.float32), side="right") - 1


def threshold_sweep(
    score_map: npt.ArrayLike, *, size: tuple[int, int] | None = None, resolution: int = 256
) -> ThresholdSweep:
    """The connected parts of one class map at every threshold, in one pass over its sorted pixels.

    The map is resized and normalised as `boxes_from_map` does. Foreground at a threshold is what exceeds it, compared
    as floats; its 8-connected components are the candidates, and boxes are half-open. (The WSOL benchmark does each of
    these otherwise: see `overlaps`.) A map without contrast (constant, NaN, infinite) has no parts.

    Shape:
        ``score_map`` is (h, w) and covers the image; ``size`` is (width, height) of the image in pixels, the unit
        of the boxes. Without it the unit is the map's cell.

    Raises:
        UserError: an argument has another shape or lies out of range.

    >>> sweep = threshold_sweep([[0, 9, 0, 0], [0, 8, 0, 4]])
    >>> [len(sweep.boxes(threshold, rule="all")) for threshold in (0.2, 0.5)]
    [2, 1]
    """
    from wsl.maps.tree.ordering import order_by_value
    from wsl.maps.tree.parts import islands
    from wsl.maps.tree.records import Parts, stride_of
    from wsl.maps.tree.rings import rings_of

    surface, size = surface_of(score_map, size, resolution)
    stride = stride_of(surface)
    with stage("sweep"):
        order, offsets, values = order_by_value(surface, stride)
        records, largest = islands(order, offsets, rings_of(surface, stride), stride, True, False)
        parts, largest_parts = (Parts(rows, stride, surface.shape[1]) for rows in (records, largest))
    return ThresholdSweep(surface=surface, size=size, values=values, parts=parts, largest_parts=largest_parts)


def largest_boxes(
    score_map: npt.ArrayLike, thresholds: npt.ArrayLike, *, size: tuple[int, int] | None = None, resolution: int = 256
) -> FloatArray:
    """`ThresholdSweep.largest` for thresholds that are known beforehand, which is several times quicker.

    Shape:
        ``score_map`` is (h, w), ``thresholds`` (T,) in [0, 1] in any order, ``size`` (width, height) in pixels;
        the result is (T, 4), xyxy.

    Raises:
        UserError: an argument has another shape or lies out of range.

    >>> largest_boxes([[0, 2, 4, 1]], [0, 0.3, 0.6, 1.0]).tolist()
    [[1.0, 0.0, 4.0, 1.0], [1.0, 0.0, 3.0, 1.0], [2.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    distinct, place = np.unique(as_thresholds(thresholds).astype(np.float32), return_inverse=True)
    surface, size = surface_of(score_map, size, resolution)
    _, largest = parts_at(surface, distinct, pick=True)
    boxes = to_pixels(largest.xyxy, surface, size)
    boxes[largest.areas == 0] = 0
    return np.asarray(boxes[place])


def parts_at(surface: FloatArray, thresholds: FloatArray, *, pick: bool) -> tuple[Parts, Parts]:
    """The parts of a normalised map at some thresholds, ascending, and with ``pick`` the largest at each.

    ``since`` and ``until`` count thresholds: a part stands at thresholds ``until`` to ``since`` - 1. Where there is no
    largest part its ``areas`` is 0.

    >>> parts, largest = parts_at(np.float32([[0, 1, 0, 0.5]]), np.float32([0.2, 0.7]), pick=True)
    >>> parts.xyxy.tolist(), parts.until.tolist(), parts.since.tolist()
    ([[1, 0, 2, 1], [3, 0, 4, 1]], [0, 0], [2, 1])
    """
    from wsl.maps.tree.ordering import order_by_level, threshold_levels
    from wsl.maps.tree.parts import islands
    from wsl.maps.tree.records import Parts, stride_of
    from wsl.maps.tree.rings import rings_of

    stride = stride_of(surface)
    with stage("sweep"):
        levels = threshold_levels(surface, thresholds)
        order, offsets = order_by_level(levels, len(thresholds) + 1, stride)
        records, largest = islands(order, offsets, rings_of(levels, stride), stride, pick, False)
        return Parts(records, stride, surface.shape[1]), Parts(largest, stride, surface.shape[1])


def as_truths(boxes: npt.ArrayLike) -> Doubles:
    """True boxes as an (n, 4) array of doubles; one box may come as (4,), none as an empty list.

    A box may reach beyond the map: its whole area counts.

    Raises:
        UserError: another shape, a number that is not finite, or an inverted box.

    >>> as_truths([0, 0, 1, 1]).tolist()
    [[0.0, 0.0, 1.0, 1.0]]
    """
    xyxy = np.asarray(boxes, np.float64)
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
        UserError: naming the known ones.

    >>> check_candidates("all")
    """
    if candidates not in get_args(Candidates):
        raise UserError(f"candidates are {candidates!r}, expected largest or all")
