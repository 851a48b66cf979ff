"""Grouping of single detections, as listed by other systems, into one localization per image."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.formats.predictions.class_names import ClassNames
from wsl.formats.predictions.coordinates import Coordinates, Corners
from wsl.formats.predictions.matching import SCORES_OUTSIDE, Pairs, size_of
from wsl.results import Localization
from wsl.samples import Sample, SampleIndex, SampleSet

_ROUNDING = 0.01  # in pixels; fractions are written with six digits


class Detection(NamedTuple):
    """One box, half-open, in pixels of its image."""

    label: str
    score: float
    xyxy: tuple[float, float, float, float]


class Detections:
    """A collection of the detections of a split, added in any order and then grouped by image; all are in memory.

    Tolerated problems are counted in ``warnings``: detections in images outside the split or of classes that the data
    set does not have (left out); boxes that reach outside their image and detections that are listed twice (kept, as
    in COCOeval and the devkit); scores outside [0, 1], or all equal; images without any detection, if they are at least
    half of the split.

    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dog"], size=(9, 9))])
    >>> detections = Detections(samples, Counter(), Path("found.json"), "xyxy")
    >>> detections.add("a.jpg", detections.match("a.jpg"), Detection("dog", 0.5, (0, 0, 5, 5)), "found.json:1")
    >>> [(found, _)] = detections.pairs()
    >>> len(found.boxes), found.scores
    (1, {})
    """

    def __init__(self, samples: SampleSet, warnings: Counter[str], place: Path, corners: Corners) -> None:
        self.samples = samples
        self.warnings = warnings
        self.place = place
        self.match = functools.cache(SampleIndex(samples).match)
        self._names = ClassNames(samples.classes, place)
        self._coordinates = Coordinates(place, corners)
        self._found: defaultdict[Path, list[Detection]] = defaultdict(list)
        self._scores: set[float] = set()
        self._shift = 1 if corners == "inclusive" else 0
        self._count = self._elsewhere = 0
        self._lost: object = None
        self._inverted = ""

    def add(self, image: object, sample: Sample | None, detection: Detection, where: str) -> None:
        """Add one detection; ``image`` is the name of its image in the file, and ``where`` its place in the file."""
        self._count += 1
        if sample is None:
            self.warnings["detections in images outside the split: left out"] += 1
            self._elsewhere += 1
            self._lost = image if self._lost is None else self._lost
            return
        x0, y0, x1, y1 = detection.xyxy
        if not self._inverted and (x1 < x0 + self._shift or y1 < y0 + self._shift):
            self._inverted = f"{where}: an inverted box {[x0 + self._shift, y0 + self._shift, x1, y1]}"
        if not self._names.known(detection.label):
            return
        if not 0 <= detection.score <= 1:
            self.warnings[SCORES_OUTSIDE] += 1
        if len(self._scores) < 2:
            self._scores.add(detection.score)
        self._found[sample.path].append(detection)

    def pairs(self) -> Pairs:
        """Yield every sample with its detections, which may be none.

        Raises:
            UserError: there are detections, but none in an image of the split or none of a class of the data set; a box
                is inverted; boxes look like fractions of their image, or like corners instead of a corner and sides;
                the size of a sample is unknown.
        """
        self._check()
        for sample in self.samples.samples:
            size, boxes = size_of(sample), self._boxes(sample)
            near, far = boxes.xyxy[:, :2], boxes.xyxy[:, 2:]
            outside = (near < -_ROUNDING).any(axis=1) | (far > np.array(size) + _ROUNDING).any(axis=1)
            if outside.any():
                what = f"boxes that reach outside their image{self._coordinates.outside}: kept as they are"
                self.warnings[what] += int(outside.sum())
            yield Localization(path=sample.path, size=size, scores={}, boxes=boxes), sample

    def _check(self) -> None:
        inside = self._count - self._elsewhere
        if self._count and not inside:
            expected = f", expected names such as {self.samples.samples[0].id!r}" if len(self.samples) else ""
            raise UserError(
                f"{self.place}: none of its {self._count} detections is in an image of the split: it names "
                f"{self._lost!r}{expected}"
            )
        self._names.check()
        for sample in self.samples.samples:
            if sample.path in self._found:
                corners = np.array([found.xyxy for found in self._found[sample.path]], np.float64)
                self._coordinates.see(corners.reshape(-1, 4), size_of(sample))
        if self._inverted:
            sides = (
                "; all boxes fit their images as [x, y, width, height]: were sides written instead of a second corner?"
            )
            hint = sides if self._coordinates.look_like_sides else ""
            raise UserError(f"{self._inverted}, expected x0 <= x1 and y0 <= y1{hint}")
        self._coordinates.check()
        self._names.count(self.warnings, "detections")
        empty = sum(sample.path not in self._found for sample in self.samples.samples)
        if inside and 2 * empty >= len(self.samples):
            self.warnings["images without a detection, half of the split or more: nothing found"] += empty
        if inside > 1 and len(self._scores) == 1:
            self.warnings["detections that all have the same score, so that their order is undefined"] += inside

    def _boxes(self, sample: Sample) -> Boxes:
        found = self._found.get(sample.path, [])
        twice = len(found) - len(set(found))
        if twice:
            self.warnings["detections that are listed twice: kept, the second is a false positive"] += twice
        return _boxes(found)


def _boxes(found: Sequence[Detection]) -> Boxes:
    return Boxes(
        xyxy=np.array([detection.xyxy for detection in found], np.float32).reshape(-1, 4),
        labels=tuple(detection.label for detection in found),
        scores=np.array([detection.score for detection in found], np.float32),
    )
