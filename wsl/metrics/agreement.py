"""Agreement of two runs on the same classes and images, without ground truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl import maps
from wsl.boxes import FloatArray
from wsl.comparison import Agreement
from wsl.metrics.overlap import box_iou
from wsl.metrics.stability import map_correlation
from wsl.results import Localization
from wsl.samples import Sample

SIDE = 32
"""Maps are correlated at this many cells a side, whatever their resolution."""


class Mark(NamedTuple):
    """What was found of a class in an image: its best box, and its map at `SIDE` cells a side."""

    box: FloatArray | None
    values: FloatArray | None


class Marks:
    """What one run found of the labelled classes of each image, kept small: 4 KB a map.

    >>> from wsl.boxes import Boxes
    >>> marks = Marks()
    >>> found = Localization(path="a.jpg", size=(9, 9), scores={}, boxes=Boxes(xyxy=[[0, 0, 9, 9]], labels=["dog"]))
    >>> marks.update(found, Sample(path="a.jpg", labels=["cat", "dog"]))
    >>> [label for _, label in marks.pairs]
    ['cat', 'dog']
    """

    def __init__(self) -> None:
        self.pairs: dict[tuple[Path, str], Mark] = {}

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in one image."""
        for label in sample.labels:
            score_map = (found.maps or {}).get(label)
            values = None if score_map is None else resampled(score_map)
            self.pairs[sample.path, label] = Mark(found.boxes.best(label), values)


def resampled(score_map: npt.ArrayLike) -> FloatArray | None:
    """A map at the resolution at which all are correlated; None where it is constant or not finite.

    Shape:
        (h, w) to (`SIDE`, `SIDE`).

    >>> resampled([[0, 1]]).shape, resampled([[1, 1]]) is None
    ((32, 32), True)
    """
    values = np.asarray(score_map, np.float32)
    if not np.isfinite(values).all() or values.min() == values.max():
        return None
    return maps.resize_map(values, (SIDE, SIDE))


def agreement(run: str, marks: Marks, against: str, others: Marks) -> Agreement:
    """How far two runs agree; a box that only one of them has agrees with nothing.

    >>> agreement("lse", Marks(), "gap", Marks()).iou is None
    True
    """
    overlaps, correlations = [], []
    for one, other in _common(marks.pairs, others.pairs):
        if one.box is not None and other.box is not None:
            overlaps.append(float(box_iou(one.box, other.box)[0, 0]))
        elif one.box is not None or other.box is not None:
            overlaps.append(0.0)
        if one.values is not None and other.values is not None:
            correlations.append(map_correlation(one.values, other.values))
    return Agreement(
        run=run,
        against=against,
        iou=_mean(overlaps),
        boxes=len(overlaps),
        correlation=_mean(correlations),
        maps=len(correlations),
    )


def _common(first: Mapping[tuple[Path, str], Mark], second: Mapping[tuple[Path, str], Mark]) -> list[tuple[Mark, Mark]]:
    return [(mark, second[pair]) for pair, mark in first.items() if pair in second]


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
