"""From the network's output for a batch to a `Localization` of each image: scores, boxes, points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wsl.boxes import Boxes, FloatArray
from wsl.config import BoxConfig
from wsl.inference.drawing import extract, fused, scored
from wsl.inference.inputs import Input
from wsl.inference.network import Group, Output
from wsl.maps import ExtractedBoxes, peaks
from wsl.models import Detected
from wsl.results import Localization

# Of a thousand classes the lowest nine hundred are of little use, and writing them takes longer than computing them.
MAX_SCORES = 100


class Reader:
    """Converts a network's output to localizations; `boxes` is None if no boxes are requested."""

    def __init__(self, classes: Sequence[str], boxes: BoxConfig | None) -> None:
        self._classes, self._boxes = tuple(classes), None if boxes is None else boxes.resolved()

    def read(self, inputs: Sequence[Input], output: Output) -> list[Localization]:
        """The localizations of a batch, in order."""
        return self.describe(self.measure(inputs, output))

    def measure(self, inputs: Sequence[Input], output: Output) -> Measured:
        """Wait for a batch and measure its maps, mostly without holding the interpreter's lock."""
        if output.done is not None:
            output.done.synchronize()
        kept = [_distinct(classes) for classes in output.chosen.tolist()]
        groups = [self._measure(inputs, group, kept, output.detected) for group in output.groups]
        return Measured(inputs, output._replace(planes=None, detected=None), kept, groups)

    def describe(self, measured: Measured) -> list[Localization]:
        """The localizations of a measured batch."""
        inputs, output, kept, groups = measured
        parts = [_Part.empty()] * len(inputs)
        chosen, confidences = output.chosen.tolist(), output.confidences.tolist()
        for group in groups:
            found = iter(zip(group.points, group.maps, group.boxes, strict=True))
            for row in group.rows:
                some = [next(found) for _ in kept[row]]
                labels = [self._classes[chosen[row][column]] for column in kept[row]]
                scores = [confidences[row][column] for column in kept[row]]
                parts[row] = _Part(
                    scores=dict(zip(labels, scores, strict=True)),
                    boxes=scored(labels, [boxes for _, _, boxes in some], scores),
                    points={label: point for label, (point, _, _) in zip(labels, some, strict=True)},
                    maps={label: one for label, (_, one, _) in zip(labels, some, strict=True)},
                )
        names, best = self._classes, output.best.tolist()
        return [
            Localization(
                path=image.path,
                id=image.id,
                image=image.image,
                size=image.geometry.original,
                scores=with_picked(dict(zip(map(names.__getitem__, numbers), scores, strict=True)), part.scores),
                boxes=part.boxes,
                points=part.points,
                maps=part.maps,
            )
            for image, part, numbers, scores in zip(inputs, parts, best, output.probabilities.tolist(), strict=True)
        ]

    def _measure(
        self, inputs: Sequence[Input], group: Group, kept: list[list[int]], detected: Detected | None
    ) -> _MeasuredGroup:
        """Points and boxes of all maps of a group, in a few compiled calls."""
        flat = [(place, column) for place, row in enumerate(group.rows) for column in kept[row]]
        where = tuple(np.array(flat, np.intp).reshape(-1, 2).T)
        sizes = [inputs[group.rows[place]].geometry.original for place, _ in flat]
        raw = group.raw.numpy()[where]  # a copy, so that the batch's own memory can be freed
        maps = raw if group.maps is None else group.maps.numpy()[where]
        # The peak is that of the raw map: in a refined map the maximum moves to the largest area of similar features.
        boxes = self._extract(maps, sizes)
        if detected is not None and self._boxes is not None:
            rows, columns = [group.rows[place] for place, _ in flat], [column for _, column in flat]
            xyxy, scores = (one.numpy()[rows, columns] for one in detected)
            boxes = fused(boxes, xyxy, scores, [inputs[row].geometry for row in rows], self._boxes)
        return _MeasuredGroup(group.rows, peaks(raw, sizes), maps, boxes)

    def _extract(self, maps: FloatArray, sizes: Sequence[tuple[int, int]]) -> list[ExtractedBoxes]:
        if self._boxes is None:
            return [ExtractedBoxes(np.empty((0, 4), np.float32), np.empty(0, np.float32))] * len(maps)
        return extract(maps, sizes, self._boxes)


class _MeasuredGroup(NamedTuple):
    """Points, maps and boxes of the chosen classes of a group's images, concatenated."""

    rows: list[int]
    points: list[tuple[float, float]]
    maps: FloatArray
    boxes: list[ExtractedBoxes]


class Measured(NamedTuple):
    """A batch with its maps measured, and the positions of the classes kept from each image's choice."""

    inputs: Sequence[Input]
    output: Output
    kept: list[list[int]]
    groups: list[_MeasuredGroup]


class _Part(NamedTuple):
    """The results from the maps of one image, and the probabilities of their classes."""

    scores: dict[str, float]
    boxes: Boxes
    points: dict[str, tuple[float, float]]
    maps: dict[str, FloatArray]

    @classmethod
    def empty(cls) -> _Part:
        return cls({}, Boxes.empty(), {}, {})


def with_picked(best: dict[str, float], picked: dict[str, float]) -> dict[str, float]:
    """The best scores, followed by those of picked classes that are not among them.

    >>> with_picked({"cat": 0.9}, {"emu": 0.1, "cat": 0.9, "dog": 0.2})
    {'cat': 0.9, 'dog': 0.2, 'emu': 0.1}
    """
    rest = [(name, score) for name, score in picked.items() if name not in best]
    return {**best, **dict(sorted(rest, key=lambda one: -one[1]))} if rest else best


def _distinct(classes: list[int]) -> list[int]:
    """Positions of the first occurrence of each class, without -1.

    >>> _distinct([3, -1, 3, 5])
    [0, 3]
    """
    first: dict[int, int] = {}
    for place, number in enumerate(classes):
        if number >= 0:
            first.setdefault(number, place)
    return list(first.values())
