"""From single detections, as other systems list them, to one localization an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.results import Localization
from wsl.samples import Sample


class Detection(NamedTuple):
    """One box, half-open, in pixels of its image."""

    label: str
    score: float
    xyxy: tuple[float, float, float, float]


def localizations(
    samples: Sequence[Sample], detections: Mapping[Path, Sequence[Detection]], warnings: Counter[str]
) -> Iterator[tuple[Localization, Sample]]:
    """Every sample with its detections, which are listed by the sample's path; one without has none found.

    Boxes that reach outside their image stay as they are and are counted in ``warnings``.

    Raises:
        UserError: a sample's size is unknown.

    >>> sample = Sample(path="a.jpg", labels=["dog"], size=(9, 9))
    >>> [(found, _)] = localizations([sample], {sample.path: [Detection("dog", 0.5, (0, 0, 5, 5))]}, Counter())
    >>> len(found.boxes), found.scores
    (1, {})
    """
    for sample in samples:
        if sample.size is None:
            raise UserError(f"{sample.path}: its size is unknown; expected annotations that give it")
        boxes = _boxes(detections.get(sample.path, ()))
        outside = (boxes.xyxy[:, :2] < 0).any(axis=1) | (boxes.xyxy[:, 2:] > np.array(sample.size)).any(axis=1)
        if outside.any():
            warnings["boxes that reach outside their image: kept as they are"] += int(outside.sum())
        yield Localization(path=sample.path, size=sample.size, scores={}, boxes=boxes), sample


def _boxes(found: Sequence[Detection]) -> Boxes:
    return Boxes(
        xyxy=np.array([detection.xyxy for detection in found], np.float32).reshape(-1, 4),
        labels=tuple(detection.label for detection in found),
        scores=np.array([detection.score for detection in found], np.float32),
    )
