"""Where a training run's batches come from: images through the whole network, or cached features through the head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler

from wsl.config import TrainConfig
from wsl.data import stacked_targets
from wsl.errors import BadImageError, RunError
from wsl.images.tensors import Normalise
from wsl.inference import Predictor, Source
from wsl.inference.reading import Reader
from wsl.models import Localizer
from wsl.models.taps import MAP
from wsl.progress import Advance
from wsl.results import Localization
from wsl.samples import Sample, SampleSet
from wsl.training.features import FeatureCache, affordable, report_skipped
from wsl.training.loading import ImageDataset, collate, start_worker
from wsl.training.validation import can_point, localize_present

Example = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
IntArray = npt.NDArray[np.int64]
# Not the batch size, which rounding would depend on.
_AT_ONCE = 64


class Shard(NamedTuple):
    """Which part of each epoch's images this process trains on."""

    rank: int = 0
    processes: int = 1

    def size(self, count: int) -> int:
        """How many of `count` images are this process's, as many as every other's.

        >>> Shard(0, 2).size(5)
        2
        """
        return count // self.processes

    def of(self, order: IntArray) -> IntArray:
        """Every so many-th image; what does not divide evenly is left out.

        >>> Shard(1, 2).of(np.arange(5)).tolist()
        [1, 3]
        """
        return order[: self.size(len(order)) * self.processes][self.rank :: self.processes]


class BatchSource(Protocol):
    """Batches for a network; the same epoch number always gives the same batches."""

    network: nn.Module
    steps: int
    skipped: set[str]

    def batches(self, epoch: int) -> Iterator[Example]:
        """Inputs of one epoch, shuffled, their targets, and which of these are known."""

    def localizations(self) -> Iterator[tuple[Localization, Sample]]:
        """The validation images, with the classes present localized by the model as it is now."""


class ImageSource:
    """Images are decoded, augmented and run through the whole network."""

    def __init__(
        self,
        model: Localizer,
        train: SampleSet,
        val: SampleSet | None,
        config: TrainConfig,
        device: torch.device,
        shard: Shard,
    ) -> None:
        self.network: nn.Module = model
        self.steps = max(1, shard.size(len(train)) // config.optim.batch_size)
        self._device, self._config, self._model, self._val = device, config, model, val
        self._normalise = Normalise(model.preprocessing, device)
        optim = config.optim
        self._train = ImageDataset(
            train, model.preprocessing, augment=True, min_crop=optim.min_crop, flip=optim.flip, seed=config.seed
        )
        self._order = _Order(len(train), config.seed, shard)
        self._loader = self._load()
        self.skipped: set[str] = set()

    def batches(self, epoch: int) -> Iterator[Example]:
        """Inputs and targets of one epoch, shuffled; the last part of a batch is left out."""
        self._order.epoch = epoch
        self._train.set_epoch(epoch)
        for batch in self._loader:
            report_skipped(batch.skipped, self.skipped, self._config.runtime.strict)
            if len(batch.index):
                yield self._normalise(batch.images), batch.targets, batch.known

    def localizations(self) -> Iterator[tuple[Localization, Sample]]:
        """The validation images, with the classes present localized by the model as it is now."""
        if self._val is None:
            return
        runtime, samples = self._config.runtime, self._val.samples
        predictor = Predictor(
            self._model, refine="none", device=str(self._device), precision=runtime.measuring, max_scores=None
        )
        images = (Source(sample.path, classes=sample.labels if can_point(sample) else ()) for sample in samples)
        stream = predictor.stream(images, errors="return", workers=runtime.workers)
        for found, sample in zip(stream, samples, strict=True):
            if isinstance(found, BadImageError):
                report_skipped([str(found)], self.skipped, runtime.strict)
            else:
                yield found, sample

    def _load(self) -> DataLoader[Any]:
        workers = self._config.runtime.workers
        workers = torch.get_num_threads() if workers is None else workers
        size = self._config.optim.batch_size
        return DataLoader(
            self._train,
            batch_size=size,
            sampler=self._order,
            # One batch is all there is when the images are fewer.
            drop_last=len(self._order) >= size,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
            worker_init_fn=start_worker,
            # Its own, or starting workers would draw from the generator of dropout, and only in a run's first epoch.
            generator=torch.Generator(),
            pin_memory=self._device.type == "cuda",
        )


class _Order(Sampler[int]):
    """A shuffled order that depends on nothing but the seed and the epoch."""

    def __init__(self, count: int, seed: int, shard: Shard) -> None:
        self.count, self.seed, self.shard, self.epoch = count, seed, shard, 0

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        yield from self.shard.of(order).tolist()

    def __len__(self) -> int:
        return self.shard.size(self.count)


class FeatureSource:
    """The frozen backbone's features, computed once; only the head runs."""

    def __init__(
        self,
        model: Localizer,
        train: SampleSet,
        val: SampleSet | None,
        config: TrainConfig,
        device: torch.device,
        shard: Shard,
    ) -> None:
        self.network: nn.Module = model.head
        self._config, self._device, self._shard, self._model = config, device, shard, model
        self._val_samples = None if val is None else val.samples
        cache = FeatureCache(config.out.parent / ".features", model, config.runtime, device)
        # What a decoder will read comes of the same forward passes.
        decodes = config.decoding.decode and affordable(model, config.decoding) >= len(train)
        layers = [*model.backbone.pyramid, MAP] if decodes else [MAP]
        views = (False, True) if config.optim.flip else (False,)
        self._train = [cache.levels(train, mirrored, layers)[-1] for mirrored in views]
        self._rows = np.flatnonzero(cache.readable(self._train[0]))
        self._val = None if val is None else cache.features(val, mirrored=False)
        self._val_rows = np.empty(0, int) if self._val is None else np.flatnonzero(cache.readable(self._val))
        self.skipped = cache.skipped
        if not len(self._rows):
            raise RunError("none of the training images could be read")
        self._targets, self._known = map(torch.from_numpy, stacked_targets(train))
        self.steps = math.ceil(shard.size(len(self._rows)) / config.optim.batch_size)

    def batches(self, epoch: int) -> Iterator[Example]:
        """Features and targets of one epoch, shuffled; each image is mirrored in half of the epochs."""
        rng = np.random.default_rng((self._config.seed, epoch))
        order = self._shard.of(self._rows[rng.permutation(len(self._rows))])
        variant = rng.integers(len(self._train), size=len(order))
        size = self._config.optim.batch_size
        for start in range(0, len(order), size):
            rows, variants = order[start : start + size], variant[start : start + size]
            features = np.stack([self._train[v][row] for row, v in zip(rows, variants, strict=True)])
            yield self._to_device(features), self._targets[rows], self._known[rows]

    @property
    def views(self) -> int:
        """Training images that could be read and, with flip, their mirror images."""
        return len(self._train) * len(self._rows)

    @torch.no_grad()
    def pooled(self, pool: Callable[[torch.Tensor], torch.Tensor], advance: Advance) -> Example:
        """A vector, the targets and which are known, of each of the `views`, the mirror images behind the others.

        `pool` makes vectors (M, D) of features (M, C, h, w), and `advance` is told the images done.
        """
        parts = []
        for features in self._train:
            for start in range(0, len(self._rows), _AT_ONCE):
                rows = self._rows[start : start + _AT_ONCE]
                parts.append(pool(self._to_device(features[rows])))
                advance(len(rows))
        targets, known = (all[self._rows].repeat(len(self._train), 1) for all in (self._targets, self._known))
        return torch.cat(parts), targets, known

    def localizations(self) -> Iterator[tuple[Localization, Sample]]:
        """The validation images, with the classes present localized by the head as it is now.

        Features hold no attention: maps of a head that reads it are those before attention.
        """
        size, model = self._config.optim.batch_size, self._model
        reader = Reader(model.classes, boxes=None)
        for start in range(0, len(self._val_rows), size):
            rows = self._val_rows[start : start + size]
            assert self._val is not None
            assert self._val_samples is not None
            features = self._to_device(self._val[rows])
            with torch.no_grad():
                scores, maps = model.head(features)
                scores = scores if model.probe is None else model.probe(features)
            probabilities = model.probabilities(scores).cpu().numpy()
            for row, probability, every in zip(rows.tolist(), probabilities, maps.float().cpu().numpy(), strict=True):
                sample = self._val_samples[row]
                yield localize_present(model, reader, sample, probability, every), sample

    def _to_device(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(features).to(self._device).float()
