"""Training of a box detector on cached features: one round from scratch, with given boxes of the images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl.config import DetectorConfig
from wsl.models import BoxDetector, Features, autocast, repeatable
from wsl.models.grid import Grid
from wsl.progress import Advance
from wsl.training.average import WeightAverage
from wsl.training.detector_loss import GoalBatch, detector_loss
from wsl.training.detector_targets import Assigner, Goals, LabelledBoxes, Part
from wsl.training.part_steps import train_steps

FloatArray = npt.NDArray[np.float32]
_AVERAGE = 0.995
_LONGEST_STEP = 5.0


class Scene(NamedTuple):
    """A training input: the ``row`` of its features in the view ``view``, and the images that it contains."""

    view: int
    row: int
    parts: tuple[Part, ...]


class Scenes(NamedTuple):
    """All training inputs: each item is a choice of one or more scenes, such as an image and its mirror image.

    ``views`` holds cached features, one memory map (images, C, h, w) for each level; ``grids`` gives the positions of
    their cells in inputs of ``size`` (height, width).
    """

    items: Sequence[Sequence[Scene]]
    views: Sequence[Sequence[npt.NDArray[np.float16]]]
    grids: Sequence[Grid | None]
    size: tuple[int, int]

    def features(self, scenes: Sequence[Scene], device: torch.device) -> list[Features]:
        """The features of some scenes."""
        levels = ([self.views[one.view][level][one.row] for one in scenes] for level in range(len(self.grids)))
        return [Features(_stacked(rows, device), grid) for rows, grid in zip(levels, self.grids, strict=True)]


def _stacked(rows: Sequence[npt.NDArray[np.float16]], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.stack(rows)).to(device).float().contiguous(memory_format=torch.channels_last)


@repeatable()
def train_detector(
    detector: BoxDetector,
    scenes: Scenes,
    boxes: Sequence[LabelledBoxes],
    labels: FloatArray,
    known: FloatArray,
    config: DetectorConfig,
    *,
    dtype: torch.dtype,
    seed: int,
    advance: Advance,
) -> float:
    """Train a new detector, average its weights, and return the mean loss of the last epoch.

    `advance` receives the number of scenes done. All random numbers derive from the seed.

    Shape:
        ``boxes`` has one entry for each image; ``labels`` (images, K) is 1 for present and 0 for absent classes, and
        ``known`` (images, K) is 0 where the label is unknown.

    Raises:
        RunError: the loss is no longer finite.
    """
    device = next(detector.parameters()).device
    detector.to(memory_format=torch.channels_last)
    average = WeightAverage(detector, _AVERAGE)
    assigner: Assigner | None = None

    def loss_of(chosen: list[Scene]) -> tuple[torch.Tensor, int]:
        nonlocal assigner
        with autocast(device, dtype):
            found = detector(scenes.features(chosen, device), scenes.size)
        if assigner is None:
            assigner = Assigner(found.places.cpu().numpy(), found.strides.cpu().numpy())
        goals = _goals([assigner.assign(one.parts, boxes, labels, known) for one in chosen], device)
        return detector_loss(found, goals), len(chosen)

    mean = train_steps(
        detector,
        _batches(scenes.items, config, seed),
        loss_of,
        part="detector",
        lr=config.detector_lr,
        weight_decay=config.detector_weight_decay,
        epochs=config.detector_epochs,
        steps=math.ceil(len(scenes.items) / config.detector_batch_size),
        advance=advance,
        longest=_LONGEST_STEP,
        after=average.update,
    )
    average.put()
    return mean


def _goals(several: Sequence[Goals], device: torch.device) -> GoalBatch:
    return GoalBatch(*(torch.from_numpy(np.stack(one)).to(device) for one in zip(*several, strict=True)))


def _batches(items: Sequence[Sequence[Scene]], config: DetectorConfig, seed: int) -> Iterator[list[Scene]]:
    """The scenes of each batch of all epochs: every item once an epoch, as one of its scenes chosen at random."""
    for epoch in range(1, config.detector_epochs + 1):
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(items))
        for start in range(0, len(order), config.detector_batch_size):
            chosen = np.sort(order[start : start + config.detector_batch_size])  # to read the files in order
            yield [items[item][int(rng.integers(len(items[item])))] for item in chosen]
