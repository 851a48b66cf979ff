"""Whether a model looks where its maps say, on some images of a split: ``wsl-evaluate --faithfulness``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch

from wsl.inference import Predictor
from wsl.metrics import Faithfulness, Probe
from wsl.results import Localization, Metric
from wsl.samples import Sample, SampleSet

T = TypeVar("T")


class OwnMaps:
    """Asks the model of a predictor about its own maps of the classes that images are labelled with.

    `images` of the labelled samples are taken, spread evenly over their order, or all where there are no more. The
    model sees the predictor's own input of an image; padding around it is neither moved nor covered by a map.
    """

    def __init__(
        self,
        predictor: Predictor,
        samples: SampleSet,
        *,
        images: int,
        steps: int,
        report_classes: Sequence[str] = (),
    ) -> None:
        labelled = [sample.path for sample in samples.samples if sample.labels]
        self._chosen, self._labelled = frozenset(evenly(labelled, images)), len(labelled)
        self._measured = 0
        self._metric = Faithfulness(
            samples.classes,
            probe=ModelProbe(predictor, samples.classes),
            steps=steps,
            batch_size=predictor.batch_size,
            report_classes=report_classes,
        )

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in one image; those that were not chosen are passed over.

        Raises:
            BadImageError: the image could be read for its localization, and cannot now.
        """
        if sample.path in self._chosen:
            self._metric.update(found, sample)
            self._measured += 1

    def compute(self) -> tuple[Metric, ...]:
        """Insertion, deletion, average drop and increase in confidence, those that have a value."""
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
    """What a predictor's model says of an image, read anew, while its pixels are changed.

    The probabilities come in the order of ``classes``, which need not be all of the model's.
    """

    def __init__(self, predictor: Predictor, classes: Sequence[str]) -> None:
        self._predictor = predictor
        self._columns = [predictor.classes.index(name) for name in classes]

    def __call__(self, path: Path) -> Probe:
        """The part of the network's input that the image covers, and the probabilities of others in its place.

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
            prepared.geometry.crop_pixels(whole).copy_(images)  # into a view of it
            return self._probabilities(whole)

        return Probe(image, placed)

    def _probabilities(self, images: torch.Tensor) -> torch.Tensor:
        return self._predictor.probabilities(images)[:, self._columns]


def evenly(items: Sequence[T], count: int) -> list[T]:
    """The middle items of ``count`` equal parts of a sequence; all of one that is no longer.

    >>> evenly("abcdefgh", 2), evenly("ab", 5)
    (['c', 'g'], ['a', 'b'])
    """
    parts = min(count, len(items))
    return [items[(2 * part + 1) * len(items) // (2 * parts)] for part in range(parts)]
