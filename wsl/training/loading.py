"""Loading of training batches: a torch data set, its collate function, and the set-up of its workers."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from wsl.config import Preprocessing
from wsl.data.reading import targets
from wsl.errors import BadImageError, UserError
from wsl.images.decode import read_image
from wsl.images.transforms import augment, fit
from wsl.limits import max_pixels
from wsl.samples import SampleSet
from wsl.training.pixel_cache import PixelCache, cached_preprocessing

# If so many images in a row are unreadable, the disk is probably gone, and trying all would take too long.
_TRIES = 8


Key = tuple[int, int]
"""An epoch, and the index of an image in the sample set."""


class Item(NamedTuple):
    """One image (S, S, 3) uint8, its targets (K,), a mask of the known targets, and its index in the sample set.

    ``skipped`` is the error of the requested image, if this image only replaces it.
    """

    image: torch.Tensor
    targets: torch.Tensor
    known: torch.Tensor
    index: int  # type: ignore[assignment] # hides tuple.index, which is not needed here
    skipped: str = ""


class Batch(NamedTuple):
    """Images (N, S, S, 3) uint8, targets (N, K), a mask of the known targets, and ``index`` (N,) int64.

    ``readable`` (N,) is False for images that only replace unreadable ones; ``skipped`` has one line for each
    unreadable image.
    """

    images: torch.Tensor
    targets: torch.Tensor
    known: torch.Tensor
    index: torch.Tensor  # type: ignore[assignment] # as above
    readable: torch.Tensor
    skipped: tuple[str, ...]


class ImageDataset(Dataset[Item]):
    """The samples as network input, by epoch and index; an unreadable image is replaced by the next readable one.

    An item depends on the seed, the epoch and its index, but not on the order or the number of workers. The epoch
    belongs to the key, because workers decode images of the next epoch before the current one ends.

    Raises:
        UserError: there are no samples, or ``min_crop`` is outside (0, 1].

    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="lost.jpg", labels=["dog"])])
    >>> ImageDataset(samples, Preprocessing())[1, 0].skipped
    'lost.jpg: no such file'
    """

    def __init__(
        self,
        samples: SampleSet,
        preprocessing: Preprocessing,
        *,
        augment: bool = False,
        min_crop: float = 1.0,
        flip: bool = False,
        seed: int = 0,
        cache: PixelCache | None = None,
    ) -> None:
        if not len(samples):
            raise UserError("no samples: expected a split with at least one image")
        if not 0 < min_crop <= 1:
            raise UserError(f"min crop is {min_crop}, expected a fraction of the area in (0, 1]")
        self.samples = samples
        self._places = {name: i for i, name in enumerate(samples.classes)}
        self.preprocessing = preprocessing
        self.augment = augment
        self.min_crop = min_crop
        self.flip = flip
        self.seed = seed
        self._max_pixels = max_pixels()  # the limit of this process, passed on to the workers
        self.cache = cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Item:
        (epoch, index), skipped = key, ""
        for step in range(min(_TRIES, len(self))):
            place = (index + step) % len(self)
            try:
                return self._item((epoch, place), self._read(place), skipped)
            except BadImageError as error:
                skipped = skipped or str(error)
        # A batch needs one shape; the content of this image does not count.
        mean = np.rint(np.asarray(self.preprocessing.mean) * 255).astype(np.uint8)
        return self._item(key, np.broadcast_to(mean, (1, 1, 3)).copy(), skipped)

    def _read(self, index: int) -> npt.NDArray[np.uint8]:
        """An image as stored in its file or, with a cache, as stored there."""
        image = None if self.cache is None else self.cache.get(index)
        if image is None:
            image = read_image(self.samples.samples[index].path, self._max_pixels)
            if self.cache is not None:
                image, _ = fit(image, cached_preprocessing(self.preprocessing, self.cache))
                self.cache.put(index, image)
        return image

    def _item(self, key: Key, image: npt.NDArray[np.uint8], skipped: str) -> Item:
        _, index = key
        if self.augment:
            rng = np.random.default_rng((self.seed, *key))
            image = augment(image, rng, self.min_crop, self.flip)
        pixels, _ = fit(image, self.preprocessing)
        values, known = map(torch.from_numpy, targets(self.samples.samples[index], self._places))
        return Item(torch.from_numpy(pixels), values, known, index, skipped)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items into a batch.

    >>> image, none = torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(2)
    >>> batch = collate([Item(image, none, none, 5), Item(image, none, none, 7, "bad")])
    >>> batch.index.tolist(), batch.readable.tolist(), batch.skipped
    ([5, 7], [True, False], ('bad',))
    """
    images, values, known, index, skipped = zip(*items, strict=True)
    readable = torch.tensor([not line for line in skipped])
    lines = tuple(line for line in skipped if line)
    return Batch(torch.stack(images), torch.stack(values), torch.stack(known), torch.tensor(index), readable, lines)


def start_worker(worker_id: int) -> None:
    """``worker_init_fn`` of a loader: OpenCV runs in a single thread, and only the main process ends the worker.

    OpenCV's thread pool does not survive a fork, and its threads in every worker would oversubscribe the machine. A
    terminal or a scheduler sends signals to all processes, but the main process needs further batches until it can
    stop, and the death of a worker would interrupt it. (On systems that do not tell the sender of a signal, such as
    macOS, SIGTERM ends workers.)
    """
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ending = {signal.SIGTERM, signal.SIGHUP}
        signal.pthread_sigmask(signal.SIG_BLOCK, ending)
        threading.Thread(target=_await_end, args=(ending, os.getppid()), daemon=True).start()


def _await_end(ending: set[signal.Signals], parent: int) -> None:
    """End the process when the parent sends one of these signals."""
    if sys.platform == "linux":
        while signal.sigwaitinfo(ending).si_pid != parent:
            pass
    os._exit(0)
