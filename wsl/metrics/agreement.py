"""Agreement of two runs on the same classes and images, without ground truth."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
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
"""Side in cells of the grid on which maps are correlated, whatever their resolution."""


class Mark(NamedTuple):
    """The predictions for a class in an image: its best box, and its map of `SIDE` x `SIDE` cells."""

    box: FloatArray | None
    values: FloatArray | None


class Marks:
    """The predictions of one run for the labelled classes of each image, stored compactly: 4 KB per map.

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
        """Add one image."""
        for label in sample.labels:
            score_map = (found.maps or {}).get(label)
            values = None if score_map is None else resampled(score_map)
            self.pairs[sample.path, label] = Mark(found.boxes.best(label), values)


def resampled(score_map: npt.ArrayLike) -> FloatArray | None:
    """A map at the common resolution for correlation; None if it is constant or not finite.

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
    """The agreement of two runs; a box that only one of them has counts as IoU 0.

    >>> agreement("lse", Marks(), "gap", Marks()).iou is None
    True
    """
    overlaps, correlations = [], []
    for pair in (pair for pair in marks.pairs if pair in others.pairs):
        one, other = marks.pairs[pair], others.pairs[pair]
        if one.box is not None and other.box is not None:
            overlaps.append(float(box_iou(one.box, other.box)[0, 0]))
        elif one.box is not None or other.box is not None:
            overlaps.append(0.0)
        if one.values is not None and other.values is not None:
            correlations.append(map_correlation(one.values, other.values))
    return Agreement(
        run=run,
        against=against,
        iou=fmean(overlaps) if overlaps else None,
        boxes=len(overlaps),
        correlation=fmean(correlations) if correlations else None,
        maps=len(correlations),
    )
