"""Sources of training batches: images for the whole network, or cached features for the head."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from wsl.config import TrainConfig
from wsl.data import stacked_targets
from wsl.errors import BadImageError, RunError, UserError, causes, first_line
from wsl.images.tensors import Normalise
from wsl.inference import Predictor, Source
from wsl.inference.reading import Reader
from wsl.models import Localizer
from wsl.models.taps import MAP
from wsl.progress import Advance
from wsl.results import Localization
from wsl.samples import Sample, SampleSet
from wsl.training.augmentation import Augmentation, create_augmentation
from wsl.training.cache_room import affordable
from wsl.training.features import FOLDER, FeatureCache, report_skipped
from wsl.training.loading import Batch, ImageDataset, Key, collate, start_worker
from wsl.training.network import Example
from wsl.training.order import Order
from wsl.training.pixel_cache import PixelCache, create_cache
from wsl.training.validation import can_point, localize_present

log = logging.getLogger("wsl")

# Not the batch size, on which rounding would then depend.
_AT_ONCE = 64


class BatchSource(Protocol):
    """A source of batches for a network; the same epoch number always gives the same batches."""

    order: Order
    skipped: set[str]

    def batches(self, epoch: int, start: int = 0) -> Iterator[Example]:
        """This process's share of each step of one epoch, after the first `start` steps."""

    def localizations(self) -> Iterator[tuple[Localization, Sample]]:
        """This process's validation images, with their present classes localized by the current model."""


def _warn(augmentation: Augmentation, cache: PixelCache | None, images: int) -> None:
    """Warn of settings that have less effect than their names promise."""
    for spec in augmentation.idle:
        log.warning("--augment %s never changes an image: give it arguments, or leave it out", spec)
    if cache is not None and cache.room < images:
        log.warning("--cache holds %d of %d images: give a larger --cache-size for more", cache.room, images)


class ImageSource:
    """A source that decodes and augments images, for training of the whole network.

    Workers decode ahead, across the ends of epochs: the first batches of the next epoch while the last steps, the
    validation and the checkpoint of the current one run.
    """

    def __init__(
        self,
        model: Localizer,
        train: SampleSet,
        val: SampleSet | None,
        config: TrainConfig,
        device: torch.device,
        order: Order,
    ) -> None:
        optim = config.optim
        self._device, self._config, self._model, self._val, self._shard = device, config, model, val, order.shard
        self._normalise = Normalise(model.preprocessing, device)
        self.order = order
        self._augment = create_augmentation(optim.augment, self._normalise, config.seed, model.preprocessing.image_size)
        if self._augment.mixes and order.shard.processes > 1 and order.share_size % 2:
            raise UserError(
                f"--augment {' '.join(optim.augment)} mixes pairs of images, but each of {order.shard.processes} "
                f"processes has {order.share_size} a step: expected a --batch-size that gives each an even number"
            )
        cache = create_cache(config, train)
        self._train = ImageDataset(
            train,
            model.preprocessing,
            augment=True,
            min_crop=optim.min_crop,
            flip=optim.flip,
            seed=config.seed,
            cache=cache,
        )
        if order.shard.rank == 0:
            _warn(self._augment, cache, len(train))
        self._keys = _Keys(order, optim.epochs)
        self._loader = self._load()
        self._fetched: Iterator[Batch] = iter(())
        self._next: tuple[int, int] | None = None  # the epoch and step that `_fetched` is at
        self.skipped: set[str] = set()

    def batches(self, epoch: int, start: int = 0) -> Iterator[Example]:
        """This process's share of each step of one epoch, after the first `start` steps."""
        for step, share in enumerate(self.order.shares(epoch, start), start):
            batch = self._fetch(epoch, step)
            report_skipped(batch.skipped, self.skipped, self._config.runtime.strict)
            counted = batch.readable & torch.from_numpy(share.counted)
            inputs, targets, mask = self._augment(batch, epoch)
            images = int(counted.sum())
            if images < len(counted):  # copied only then, because the copy waits for the device
                mask = mask * counted[:, None].to(mask.device)
            yield Example(inputs, targets, mask, batch.index, images)

    def localizations(self) -> Iterator[tuple[Localization, Sample]]:
        """This process's validation images, with their present classes localized by the current model."""
        if self._val is None:
            return
        runtime, samples = self._config.runtime, self._val.samples[self._shard.rank :: self._shard.processes]
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

    def _fetch(self, epoch: int, step: int) -> Batch:
        """The batch of one step, for which the loader starts anew unless this step comes next.

        Raises:
            RunError: a process that decodes images has died.
        """
        with naming_dead_workers(also=(ConnectionError, EOFError)):  # it may have died while it sent a batch
            continues, self._next = self._next == (epoch, step), None  # an interrupted loader is at no known step
            if not continues:
                self._keys.epoch, self._keys.start = epoch, step
                self._fetched = iter(self._loader)
            batch = next(self._fetched)
        self._next = (epoch, step + 1) if step + 1 < self.order.steps else (epoch + 1, 0)
        return batch

    def _load(self) -> DataLoader[Any]:
        workers = self._config.runtime.workers
        workers = default_workers() if workers is None else workers
        return DataLoader(
            self._train,
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=collate,
            worker_init_fn=start_worker,
            # Its own, because starting workers would otherwise draw from the generator of dropout, in the first epoch
            # only.
            generator=torch.Generator(),
            pin_memory=self._device.type == "cuda",
        )


@contextlib.contextmanager
def naming_dead_workers(also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Convert the error of a dead decoding process, which torch raises wherever the main process is at that moment.

    `also` are further errors that only a dead process can cause.

    Raises:
        RunError: a process that decodes images has died.
    """
    try:
        yield
    except Exception as error:
        # Code that was running may have taken it for an error of its own.
        died = next((one for one in causes(error) if isinstance(one, also) or _tells_of_death(one)), None)
        if died is None:
            raise
        raise RunError(
            f"a process that decodes images has died ({first_line(died)}), probably for lack of memory or of shared "
            "memory (/dev/shm, docker's --shm-size): give fewer --workers, or --workers 0"
        ) from error


def _tells_of_death(error: BaseException) -> bool:
    """Whether this is torch's error for a worker that is gone, not one that a worker raised."""
    return type(error) is RuntimeError and "DataLoader worker (pid" in str(error)


class _Keys:
    """A batch sampler from a step of an epoch, both set beforehand, to the end of the last epoch of the run."""

    def __init__(self, order: Order, last: int) -> None:
        self.order, self.last, self.epoch, self.start = order, last, 1, 0

    def __iter__(self) -> Iterator[list[Key]]:
        start = self.start
        for epoch in range(self.epoch, max(self.epoch, self.last) + 1):  # a search may need more epochs than the run
            for share in self.order.shares(epoch, start):
                yield [(epoch, row) for row in share.rows.tolist()]
            start = 0


def default_workers() -> int:
    """The default number of decoding workers: the available cores, divided among the machine's training processes.

    >>> default_workers() >= 1
    True
    """
    # Only Linux tells which cores a process may use.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, cores // max(1, beside))


class FeatureSource:
    """A source of the frozen backbone's features, which are computed once; only the head is trained."""

    def __init__(
        self,
        model: Localizer,
        train: SampleSet,
        val: SampleSet | None,
        config: TrainConfig,
        device: torch.device,
        order: Order,
    ) -> None:
        self._config, self._device, self._shard, self._model = config, device, order.shard, model
        self._val_samples = None if val is None else val.samples
        cache = FeatureCache(config.out.parent / FOLDER, model, config.runtime, device)
        # The features for a map decoder come from the same forward passes.
        views = (False, True) if config.optim.flip else (False,)
        room = config.decoding.decoder_cache
        decodes = config.decoding.decode and affordable(model, room, len(views)) >= len(train)
        layers = [*model.backbone.pyramid, MAP] if decodes else [MAP]
        self._train = [cache.levels(train, mirrored, layers)[-1] for mirrored in views]
        self._rows = np.flatnonzero(cache.readable(self._train[0]))
        self._val = None if val is None else cache.features(val, mirrored=False)
        self._val_rows = np.empty(0, int) if self._val is None else np.flatnonzero(cache.readable(self._val))
        self.skipped = cache.skipped
        if not len(self._rows):
            raise RunError("none of the training images could be read")
        # One byte each, because with 10,000 classes and many images they take most of the memory.
        self._targets, self._known = (torch.from_numpy(part).bool() for part in stacked_targets(train))
        chances = order.chances
        if chances is not None:
            chances = chances[self._rows] / chances[self._rows].sum()
        self.order = Order(len(self._rows), config.optim.batch_size, config.seed, order.shard, chances)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Example]:
        """This process's share of each step of one epoch; with flip, each image is mirrored with probability 1/2."""
        # Another random stream than the permutation's, for the same epoch.
        variants = np.random.default_rng((self._config.seed, epoch, 1)).integers(len(self._train), size=len(self._rows))
        for share in self.order.shares(epoch, start):
            rows, counted = self._rows[share.rows], torch.from_numpy(share.counted)
            views = variants[share.rows]
            features = np.stack([self._train[view][row] for row, view in zip(rows, views, strict=True)])
            mask = (self._known[rows] & counted[:, None]).float()
            index = torch.from_numpy(rows)
            yield Example(self._to_device(features), self._targets[rows].float(), mask, index, int(counted.sum()))

    @property
    def views(self) -> int:
        """The number of readable training images and, with flip, their mirror images."""
        return len(self._train) * len(self._rows)

    @torch.no_grad()
    def pooled(self, pool: Callable[[torch.Tensor], torch.Tensor], advance: Advance) -> tuple[torch.Tensor, ...]:
        """A vector, the targets and the mask of known targets for each of the `views`; mirror images come last.

        `pool` maps features (M, C, h, w) to vectors (M, D), and `advance` receives the number of images done.
        """
        parts = []
        for features in self._train:
            for start in range(0, len(self._rows), _AT_ONCE):
                rows = self._rows[start : start + _AT_ONCE]
                parts.append(pool(self._to_device(features[rows])))
                advance(len(rows))
        targets, known = (all[self._rows].float().repeat(len(self._train), 1) for all in (self._targets, self._known))
        return torch.cat(parts), targets, known

    def localizations(self) -> Iterator[tuple[Localization, Sample]]:
        """This process's validation images, with their present classes localized by the current head.

        Cached features have no attention, so the maps of a head that reads attention are those before attention.
        """
        model = self._model
        reader = Reader(model.classes, boxes=None)
        mine = self._val_rows[self._shard.rank :: self._shard.processes]
        for start in range(0, len(mine), _AT_ONCE):
            rows = mine[start : start + _AT_ONCE]
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
