"""The reasons for wrong boxes: the class, the place, or the extent."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.metrics.overlap import as_xyxy, best_iou
from wsl.results import Localization
from wsl.samples import Sample

Failure = Literal["wrong class", "part only", "too big", "several objects merged", "wrong place", "no box"]
FAILURES: tuple[Failure, ...] = get_args(Failure)

_COVERED = 0.5


def failure(box: npt.ArrayLike, instances: npt.ArrayLike, iou_threshold: float = 0.5) -> Failure | None:
    """The reason why a box has no instance of its class at an IoU of ``iou_threshold`` or more; None if it has one.

    * ``several objects merged``: it covers at least half of each of two or more instances;
    * ``too big``: it covers at least half of the instance that it overlaps most, and is larger than it;
    * ``part only``: at least half of it lies in that instance, which is larger;
    * ``wrong place``: everything else.

    Shape:
        (4,) xyxy and (n, 4).

    >>> dogs = [[0, 0, 10, 10], [20, 0, 30, 10]]
    >>> failure([0, 0, 10, 9], dogs), failure([0, 0, 4, 4], dogs), failure([0, 0, 10, 40], dogs)
    (None, 'part only', 'too big')
    >>> failure([0, 0, 30, 10], dogs), failure([50, 50, 60, 60], dogs)
    ('several objects merged', 'wrong place')
    """
    if best_iou(box, instances)[0] >= iou_threshold:
        return None
    one, many = as_xyxy(box)[0], as_xyxy(instances)
    sides = np.minimum(one[2:], many[:, 2:]) - np.maximum(one[:2], many[:, :2])
    shared = np.prod(np.clip(sides, 0, None), axis=1)
    size, sizes = float(np.prod(one[2:] - one[:2])), np.prod(many[:, 2:] - many[:, :2], axis=1)
    covered = shared >= _COVERED * np.maximum(sizes, 1e-9)
    if covered.sum() >= 2:
        return "several objects merged"
    nearest = int(shared.argmax())
    if covered[nearest] and size > sizes[nearest]:
        return "too big"
    if size > 0 and shared[nearest] >= _COVERED * size and sizes[nearest] > size:
        return "part only"
    return "wrong place"


def failures(found: Localization, sample: Sample, iou_threshold: float = 0.5) -> dict[str, Failure | None]:
    """The reason why each class of an image is not localized; None for a class that is localized.

    Classes are those of ``sample.labels`` that have a box; the best of the predicted boxes of a class counts. If the
    highest-scored class is not one of the image's, every class fails as ``wrong class``, whatever the boxes.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={"cat": 0.9, "dog": 0.1}, boxes=truth)
    >>> failures(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    {'dog': 'wrong class'}
    """
    reasons: dict[str, Failure | None] = {}
    top = max(found.scores, key=lambda label: found.scores[label], default=None)
    mistaken = top is not None and top not in (*sample.labels, *sample.unknown([top]))
    ground_truth = Boxes.empty() if sample.boxes is None else sample.boxes
    for label in sample.labels:
        instances, best = ground_truth.of(label).xyxy, found.boxes.best(label)
        if not len(instances):
            continue
        if mistaken:
            reasons[label] = "wrong class"
        elif best is None:
            reasons[label] = "no box"
        else:
            reasons[label] = failure(best, instances, iou_threshold)
    return reasons
