"""How alike two runs localize the same classes of the same images, whatever is true."""

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
from wsl.results import Localization
from wsl.samples import Sample

SIDE = 32
"""Maps are correlated at this many cells a side, whatever their resolution."""


class Mark(NamedTuple):
    """What was found of a class in an image: its best box, and its map as numbers of mean 0 and norm 1."""

    box: FloatArray | None
    values: npt.NDArray[np.float32] | None


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
            values = None if score_map is None else standardised(score_map)
            self.pairs[sample.path, label] = Mark(found.boxes.best(label), values)


def standardised(score_map: npt.ArrayLike) -> npt.NDArray[np.float32] | None:
    """A map whose product with another one is their Pearson correlation; None where it is constant or not finite.

    Shape:
        (h, w) to (`SIDE` * `SIDE`,).

    >>> one = standardised([[0, 1], [2, 5]])
    >>> round(float(one @ standardised([[1, 3], [5, 11]])), 3)
    1.0
    """
    values = np.asarray(score_map, np.float32)
    if not np.isfinite(values).all() or values.min() == values.max():
        return None
    resized = maps.resize_map(values, (SIDE, SIDE)).astype(np.float64).ravel()
    resized -= resized.mean()
    norm = float(np.linalg.norm(resized))
    return (resized / norm).astype(np.float32) if norm > 0 else None


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
            correlations.append(float(np.clip(one.values @ other.values, -1, 1)))
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
