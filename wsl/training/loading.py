"""Samples to batches for training: a torch data set, its collation, its worker set-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from wsl.config import Preprocessing
from wsl.data.reading import targets
from wsl.errors import BadImageError, UserError
from wsl.images.decode import read_image
from wsl.images.transforms import augment, fit
from wsl.limits import max_pixels
from wsl.samples import SampleSet


class Item(NamedTuple):
    """One image: (S, S, 3) uint8, its (K,) targets and which of them are known, and its index in the sample set."""

    image: torch.Tensor
    targets: torch.Tensor
    known: torch.Tensor
    index: int  # type: ignore[assignment] # hides tuple.index, which nobody needs here


class Batch(NamedTuple):
    """Images that could be read, (N, S, S, 3) uint8 with (N, K) targets, and what became of the others.

    ``index`` is (N,) int64 in the sample set; ``skipped`` has one line for each image that was left out.
    """

    images: torch.Tensor
    targets: torch.Tensor
    known: torch.Tensor
    index: torch.Tensor  # type: ignore[assignment] # as above
    skipped: tuple[str, ...]


class ImageDataset(Dataset["Item | str"]):
    """The samples as network input; an unreadable image is the line (str) that says why.

    What an item looks like depends on the seed, the epoch and its index, and on neither the order nor the number
    of workers. The epoch lies in shared memory: `set_epoch` reaches persistent workers too. Call it before the
    loader is iterated, since workers read ahead.

    Raises:
        UserError: no samples, or ``min_crop`` outside (0, 1].

    >>> from wsl.samples import Sample
    >>> samples = SampleSet(classes=["dog"], samples=[Sample(path="lost.jpg", labels=["dog"])])
    >>> ImageDataset(samples, Preprocessing())[0]
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
    ) -> None:
        if not len(samples):
            raise UserError("no samples: expected a split with at least one image")
        if not 0 < min_crop <= 1:
            raise UserError(f"min crop is {min_crop}, expected a fraction of the area in (0, 1]")
        self.samples = samples
        self.preprocessing = preprocessing
        self.augment = augment
        self.min_crop = min_crop
        self.flip = flip
        self.seed = seed
        self._max_pixels = max_pixels()  # of this process, for those that read
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Draw other crops and flips from now on: those of this epoch."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item | str:
        sample = self.samples.samples[index]
        try:
            image = read_image(sample.path, self._max_pixels)
        except BadImageError as error:
            return str(error)
        if self.augment:
            rng = np.random.default_rng((self.seed, int(self._epoch), index))
            image = augment(image, rng, self.min_crop, self.flip)
        pixels, _ = fit(image, self.preprocessing)
        values, known = map(torch.from_numpy, targets(sample, self.samples.classes))
        return Item(torch.from_numpy(pixels), values, known, index)


def collate(items: Sequence[Item | str]) -> Batch:
    """Stack the items that are images; of none of them, an empty batch (zero images of no size).

    >>> batch = collate([Item(torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(2), torch.ones(2), 5), "bad"])
    >>> tuple(batch.images.shape), batch.index.tolist(), batch.skipped
    ((1, 8, 8, 3), [5], ('bad',))
    """
    good = [item for item in items if not isinstance(item, str)]
    skipped = tuple(item for item in items if isinstance(item, str))
    if not good:
        none = torch.empty(0, dtype=torch.int64)
        nobody = torch.empty(0, 0)
        return Batch(none.new_empty((0, 0, 0, 3)).byte(), nobody, nobody, none, skipped)
    images, values, known, index = zip(*good, strict=True)
    return Batch(torch.stack(images), torch.stack(values), torch.stack(known), torch.tensor(index), skipped)


def start_worker(worker_id: int) -> None:
    """``worker_init_fn`` of a loader: OpenCV computes in the worker itself.

    Its thread pool does not survive a fork, and workers times threads would crowd the machine.
    """
    cv2.setNumThreads(0)
