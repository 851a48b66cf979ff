"""Checks of a model's own maps on some images of a split: --faithfulness and --stability of wsl-evaluate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wsl.config import EvaluateConfig
from wsl.images import read_image
from wsl.inference import Predictor
from wsl.metrics import Faithfulness, FlipStability, Probe, Statistic
from wsl.results import Localization, Metric
from wsl.samples import Sample, SampleSet

T = TypeVar("T")


def checks(config: EvaluateConfig, predictor: Predictor, samples: SampleSet) -> dict[str, OwnMaps]:
    """The requested checks of a model's own maps, by name.

    The model's input is the image as prepared by the predictor; the padding around it is never changed, and no map
    covers it.
    """
    common: dict[str, Any] = {"report_classes": config.report_classes}
    asked = {}
    if config.faithfulness is not None:
        faithfulness = Faithfulness(
            samples.classes,
            probe=ModelProbe(predictor, samples.classes),
            steps=config.faithfulness_steps,
            batch_size=predictor.batch_size,
            **common,
        )
        asked["faithfulness"] = OwnMaps(faithfulness, samples, images=config.faithfulness)
    if config.stability is not None:
        stability = FlipStability(samples.classes, mirrored=Mirrored(predictor), **common)
        asked["stability"] = OwnMaps(stability, samples, images=config.stability)
    return asked


class Mirrored:
    """Localization of mirrored images by a predictor."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def __call__(self, path: Path) -> Localization:
        """Read the image, mirror it, and localize it.

        Raises:
            BadImageError: the image cannot be read.
        """
        return self._predictor(np.ascontiguousarray(read_image(path)[:, ::-1]))


class OwnMaps:
    """A metric of a model's own maps, computed on some of the labelled images.

    `images` is the number of labelled samples to use, evenly spaced in their order; all are used if there are fewer.
    """

    def __init__(self, metric: Statistic, samples: SampleSet, *, images: int) -> None:
        labelled = [sample.path for sample in samples.samples if sample.labels]
        self._chosen, self._labelled = frozenset(evenly(labelled, images)), len(labelled)
        self._measured = 0
        self._metric = metric

    def update(self, found: Localization, sample: Sample) -> None:
        """Add one image; images that were not chosen, or could not be read, are ignored.

        Raises:
            BadImageError: the image can no longer be read, although it could be for its localization.
        """
        if sample.path in self._chosen and found.maps is not None:
            self._metric.update(found, sample)
            self._measured += 1

    def compute(self) -> tuple[Metric, ...]:
        """The numbers of the metric that have a value."""
        spread = ", spread evenly" if len(self._chosen) < self._labelled else ""
        unread = len(self._chosen) - self._measured
        which = f"{self._measured} of {self._labelled} labelled images{spread}"
        which += f" ({unread} more could not be read)" if unread else ""
        return tuple(
            dataclasses.replace(metric, note=f"{metric.note}; {which}")
            for metric in self._metric.compute()
            if metric.value is not None
        )


class ModelProbe:
    """Class probabilities of a predictor's model for changed versions of an image, which is read again.

    The probabilities are in the order of ``classes``, which may be a subset of the model's.
    """

    def __init__(self, predictor: Predictor, classes: Sequence[str]) -> None:
        self._predictor = predictor
        self._columns = [predictor.classes.index(name) for name in classes]

    def __call__(self, path: Path) -> Probe:
        """The part of the network's input that the image covers, and a function from replacements to probabilities.

        Raises:
            BadImageError: the image cannot be read.
        """
        prepared = self._predictor.prepare(path)
        canvas = self._predictor.images([prepared])
        image = prepared.geometry.crop_pixels(canvas)[0]
        if image.shape == canvas.shape[1:]:
            return Probe(image, self._probabilities)

        def placed(images: torch.Tensor) -> torch.Tensor:
            whole = canvas.repeat(len(images), 1, 1, 1)
            prepared.geometry.crop_pixels(whole).copy_(images)  # `crop_pixels` returns a view
            return self._probabilities(whole)

        return Probe(image, placed)

    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return self._predictor.probabilities(images)[:, self._columns]


def evenly(items: Sequence[T], count: int) -> list[T]:
    """The middle items of ``count`` equal parts of a sequence, or all items if there are no more than ``count``.

    >>> evenly("abcdefgh", 2), evenly("ab", 5)
    (['c', 'g'], ['a', 'b'])
    """
    parts = min(count, len(items))
    return [items[(2 * part + 1) * len(items) // (2 * parts)] for part in range(parts)]
