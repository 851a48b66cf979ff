"""How good a model is after an epoch: classification mAP and pointing accuracy on the validation split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from heads import HeadOutput
from wsl.boxes import Boxes
from wsl.data import place
from wsl.maps import peak
from wsl.metrics import ClassificationAP, PointingGame
from wsl.models import Localizer
from wsl.results import Localization
from wsl.samples import Sample, SampleSet


@dataclass(frozen=True, slots=True)
class Scores:
    """Validation figures in [0, 1]; None where nothing counts (no positive image, no annotated box)."""

    mAP: float | None
    pointing: float | None


def validate(model: Localizer, samples: SampleSet, outputs: Iterable[tuple[torch.Tensor, HeadOutput]]) -> Scores:
    """Measure the head's outputs of the validation images, given with the index of each image.

    Maps count for the classes present; a class whose objects are all difficult is left out.
    """
    # Where several processes train, each measures all images for itself.
    classification = ClassificationAP(samples.classes, replicates=0, sync_on_compute=False)
    pointing = PointingGame(samples.classes, replicates=0, sync_on_compute=False)
    for index, output in outputs:
        probabilities = model.probabilities(output.scores).cpu().numpy()
        maps = output.maps.float().cpu().numpy()
        for row, number in enumerate(index.tolist()):
            sample = samples.samples[number]
            scores = dict(zip(samples.classes, probabilities[row].tolist(), strict=True))
            named = dict(zip(samples.classes, maps[row], strict=True))
            found = _localize(model, sample, scores, named)
            classification.update(found, sample)
            if sample.boxes is not None and sample.size is not None:
                pointing.update(found, sample)
    by_class, _ = pointing.compute()
    return Scores(classification.compute().value, by_class.value)


def _localize(model: Localizer, sample: Sample, scores: dict[str, float], maps: dict[str, np.ndarray]) -> Localization:
    """Scores, and the maximum of the map of each class present, in the image's own pixels."""
    points = {}
    if sample.boxes is not None and sample.size is not None:
        geometry, grid = place(sample.size, model.preprocessing), model.backbone.grid
        points = {label: peak(geometry.crop_map(maps[label], grid), sample.size) for label in sample.labels}
    return Localization(path=sample.path, size=sample.size or (1, 1), scores=scores, boxes=Boxes.empty(), points=points)
