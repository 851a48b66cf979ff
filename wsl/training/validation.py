"""Validation of a model after an epoch: classification mAP and pointing accuracy on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from wsl.images import place
from wsl.inference import Input
from wsl.inference.network import Group, Output
from wsl.inference.reading import Reader
from wsl.metrics import ClassificationAP, PointingGame
from wsl.models import Localizer
from wsl.results import Localization
from wsl.samples import Sample
from wsl.training.class_report import ClassReport

Parts = tuple[ClassificationAP, PointingGame, ClassReport]


@dataclass(frozen=True, slots=True)
class Scores:
    """Validation figures in [0, 1]; None where undefined (no positive image, no annotated box).

    ``classes`` has the figures of each class: ``class``, ``images`` (that show it), ``AP``, ``pointing``, and
    ``predicted``, ``precision`` and ``recall`` of a `ClassReport`. ``rule`` and ``confusions`` are those of the same
    report.
    """

    mAP: float | None
    pointing: float | None
    classes: tuple[dict[str, Any], ...] = ()
    rule: str = ""
    confusions: tuple[dict[str, Any], ...] = ()


def validate(
    classes: tuple[str, ...],
    found: Iterable[tuple[Localization, Sample]],
    gather: Callable[[Parts], list[Parts]] = lambda own: [own],
    *,
    multi_label: bool = True,
) -> Scores:
    """Evaluate localizations of the classes present in each image.

    A class whose objects are all difficult is left out. `gather` collects the results of all processes, each on its own
    images. `multi_label` is as in `ClassReport`.
    """
    classification, pointing = ClassificationAP(classes, replicates=0), PointingGame(classes, replicates=0)
    report = ClassReport(classes, multi_label=multi_label)
    for localization, sample in found:
        classification.update(localization, sample)
        report.update(localization.scores, sample)
        if can_point(sample):
            pointing.update(localization, sample)
    (classification, pointing, report), *others = gather((classification, pointing, report))
    for of_classes, of_points, of_pairs in others:
        classification.merge(of_classes)
        pointing.merge(of_points)
        report.merge(of_pairs)
    by_class, _ = pointing.compute()
    by_label = classification.compute()
    rows = (
        {
            "class": name,
            "images": by_label.counts.get(name, 0),
            "AP": by_label.per_class.get(name),
            "pointing": by_class.per_class.get(name),
            **report.figures(name),
        }
        for name in classes
    )
    return Scores(by_label.value, by_class.value, tuple(rows), report.rule, tuple(report.confusions()))


def can_point(sample: Sample) -> bool:
    """Whether a sample counts in the pointing game: it has annotated boxes and a known image size."""
    return sample.boxes is not None and sample.size is not None


def localize_present(
    model: Localizer, reader: Reader, sample: Sample, probabilities: np.ndarray, maps: np.ndarray
) -> Localization:
    """The localization of a sample's present classes, from the output of the model's head.

    Shape:
        ``probabilities`` (K,), ``maps`` (K, h, w) at the network's resolution.
    """
    size = sample.size if can_point(sample) else None
    geometry = place(size or (1, 1), model.preprocessing)
    classes = [model.classes.index(label) for label in sample.labels] if size else []
    side = model.preprocessing.image_size
    raw = torch.from_numpy(geometry.crop_map(maps[classes], model.grid((side, side))))[None] if classes else None
    values, order = torch.from_numpy(probabilities)[None].sort(descending=True, stable=True)
    chosen = torch.tensor([classes], dtype=torch.int64)
    groups = [] if raw is None else [Group([0], raw, None)]
    image = Input(path=sample.path, id=sample.id, image=sample.path, geometry=geometry)
    output = Output(order, values, chosen, torch.from_numpy(probabilities)[chosen], groups)
    return reader.read([image], output)[0]
