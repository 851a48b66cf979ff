"""Training of a map decoder on cached features: one round from scratch, with given target maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from wsl.config import DecoderConfig
from wsl.models import Features, MapDecoder, repeatable
from wsl.models.grid import Grid
from wsl.progress import Advance
from wsl.training.decoder_targets import Targets
from wsl.training.part_steps import train_steps

# The weight of absent classes relative to present ones: responses in their maps lead to boxes of absent classes.
_ABSENT = 3.0


class Levels(NamedTuple):
    """Cached features of a data set: one memory map (images, C, h, w) for each of the `training_views` and levels."""

    views: Sequence[Sequence[npt.NDArray[np.float16]]]
    grids: Sequence[Grid | None]
    size: tuple[int, int]

    def batch(self, view: int, images: npt.NDArray[np.int64], device: torch.device) -> list[Features]:
        """The features of some images."""
        return [
            Features(torch.from_numpy(level[images]).to(device).float(), grid)
            for level, grid in zip(self.views[view], self.grids, strict=True)
        ]


def decoder_loss(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, labels: torch.Tensor, known: torch.Tensor
) -> torch.Tensor:
    """Binary cross-entropy of maps: the mean over present (image, class) pairs plus that over absent pairs.

    The loss of a pair is the mean over the cells that lie in the image. The mean over absent pairs, whose target is 0
    everywhere, has a weight of three.

    Shape:
        ``logits`` and ``targets`` (N, K, h, w), ``weights`` (N, 1, h, w), ``labels`` (N, K): 1 present, 0 absent, and
        ``known`` (N, K): 0 where the label is unknown; to a scalar.

    >>> logits, present = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
    >>> decoder_loss(logits, present, torch.ones(1, 1, 1, 1), *torch.tensor([[[1, 0]], [[1, 0]]])).item()
    0.693...
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    cells = weights.sum((2, 3)).clamp(min=1)
    pairs = (losses * weights).sum((2, 3)) / cells
    return _mean(pairs, labels * known) + _ABSENT * _mean(pairs, (1 - labels) * known)


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


@repeatable()
def train_decoder(
    decoder: MapDecoder,
    levels: Levels,
    targets: Targets,
    labels: torch.Tensor,
    known: torch.Tensor,
    config: DecoderConfig,
    *,
    seed: int,
    advance: Advance,
) -> float:
    """Train a new decoder and return the mean loss of the last epoch; `advance` receives the number of images done.

    Each batch consists of images in one of their views, with equal probability. All random numbers derive from the
    seed.

    Shape:
        ``labels`` (images, K): 1 present, 0 absent, and ``known`` (images, K): 0 where the label is unknown.

    Raises:
        RunError: the loss is no longer finite.
    """
    device = next(decoder.parameters()).device
    images = np.flatnonzero(targets.known)

    def loss_of(batch: tuple[int, npt.NDArray[np.int64]]) -> tuple[torch.Tensor, int]:
        view, chosen = batch
        wanted, weights = (one.to(device) for one in targets.batch(chosen, view, labels.shape[1]))
        logits = decoder(levels.batch(view, chosen, device), levels.size)
        return decoder_loss(logits, wanted, weights, labels[chosen].to(device), known[chosen].to(device)), len(chosen)

    return train_steps(
        decoder,
        _batches(images, len(targets.maps), config, seed),
        loss_of,
        part="decoder",
        lr=config.decoder_lr,
        weight_decay=config.decoder_weight_decay,
        epochs=config.decoder_epochs,
        steps=math.ceil(len(images) / config.decoder_batch_size),
        advance=advance,
    )


def _batches(
    images: npt.NDArray[np.int64], views: int, config: DecoderConfig, seed: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """The view and the images of each batch of all epochs."""
    for epoch in range(1, config.decoder_epochs + 1):
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(images)
        for start in range(0, len(order), config.decoder_batch_size):
            yield int(rng.integers(views)), np.sort(order[start : start + config.decoder_batch_size])
