"""Where a training run's batches come from: images through the whole network, or cached features through the head."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler

from heads import HeadOutput
from wsl.config import TrainConfig
from wsl.data import Batch, ImageDataset, collate, start_worker, targets, to_tensor
from wsl.errors import RunError
from wsl.models import Localizer
from wsl.samples import SampleSet
from wsl.training.features import FeatureCache, report_skipped

Example = tuple[torch.Tensor, torch.Tensor]
IntArray = npt.NDArray[np.int64]
Network = Callable[[torch.Tensor], HeadOutput]


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


class Source(Protocol):
    """Batches for a network; the same epoch number always gives the same batches."""

    network: nn.Module
    steps: int
    skipped: set[str]

    def batches(self, epoch: int) -> Iterator[Example]:
        """Inputs and targets of one epoch, shuffled."""

    def outputs(self, network: Network) -> Iterator[tuple[torch.Tensor, HeadOutput]]:
        """The network's outputs of the validation images, with their indices."""


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
        self._device, self._config, self._preprocessing = device, config, model.preprocessing
        optim = config.optim
        self._train = ImageDataset(
            train, self._preprocessing, augment=True, min_crop=optim.min_crop, flip=optim.flip, seed=config.seed
        )
        self._order = _Order(len(train), config.seed, shard)
        self._loader = self._load(self._train, self._order, keep_workers=True)
        self._val = None if val is None else ImageDataset(val, self._preprocessing)
        self.skipped: set[str] = set()

    def batches(self, epoch: int) -> Iterator[Example]:
        """Inputs and targets of one epoch, shuffled; the last part of a batch is left out."""
        self._order.epoch = epoch
        self._train.set_epoch(epoch)
        for batch in self._readable(self._loader):
            yield to_tensor(batch.images, self._preprocessing, self._device, torch.float32), batch.targets

    def outputs(self, network: Network) -> Iterator[tuple[torch.Tensor, HeadOutput]]:
        """The network's outputs of the validation images, with their indices."""
        if self._val is not None:
            for batch in self._readable(self._load(self._val, None, keep_workers=False)):
                images = to_tensor(batch.images, self._preprocessing, self._device, torch.float32)
                yield batch.index, network(images)

    def _load(self, dataset: ImageDataset, order: _Order | None, *, keep_workers: bool) -> DataLoader[Any]:
        workers = self._config.runtime.workers
        return DataLoader(
            dataset,
            batch_size=self._config.optim.batch_size,
            sampler=order,
            # One batch is all there is when the images are fewer.
            drop_last=order is not None and len(order) >= self._config.optim.batch_size,
            num_workers=workers,
            persistent_workers=keep_workers and workers > 0,
            collate_fn=collate,
            worker_init_fn=start_worker,
            # Its own, or starting workers would draw from the generator of dropout, and only in a run's first epoch.
            generator=torch.Generator(),
            pin_memory=self._device.type == "cuda",
        )

    def _readable(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            report_skipped(batch.skipped, self.skipped, self._config.runtime.strict)
            if len(batch.index):
                yield batch


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
        self._config, self._device, self._shard = config, device, shard
        cache = FeatureCache(config.out.parent / ".features", model, config.runtime, device)
        self._train = [
            cache.features(train, mirrored) for mirrored in ((False, True) if config.optim.flip else (False,))
        ]
        self._rows = np.flatnonzero(cache.readable(self._train[0]))
        self._val = None if val is None else cache.features(val, mirrored=False)
        self._val_rows = np.empty(0, int) if self._val is None else np.flatnonzero(cache.readable(self._val))
        self.skipped = cache.skipped
        if not len(self._rows):
            raise RunError("none of the training images could be read")
        self._targets = torch.from_numpy(np.stack([targets(sample, train.classes) for sample in train.samples]))
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
            yield self._to_device(features), self._targets[rows]

    def outputs(self, network: Network) -> Iterator[tuple[torch.Tensor, HeadOutput]]:
        """The head's outputs of the validation images, with their indices."""
        size = self._config.optim.batch_size
        for start in range(0, len(self._val_rows), size):
            rows = self._val_rows[start : start + size]
            assert self._val is not None
            yield torch.from_numpy(rows), network(self._to_device(self._val[rows]))

    def _to_device(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(features).to(self._device).float()
