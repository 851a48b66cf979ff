"""Cache of decoded and resized images in memory or on disk, so that later epochs read no image files."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.config import Preprocessing, TrainConfig, to_json
from wsl.documents.guard import describe
from wsl.errors import RunError
from wsl.files import replacing
from wsl.samples import SampleSet
from wsl.training.features import identify_files

log = logging.getLogger("wsl")

UInt8Array = npt.NDArray[np.uint8]
_SHARED = Path("/dev/shm")


class PixelCache:
    """Cache of the first images of a set, as many as fit into `gigabytes`, each a square of ``side`` pixels.

    All processes that decode for a training share the cache. On disk it is one ``.npy`` file, named by a hash of the
    files, their sizes and dates, and the preprocessing, so that later runs find it; the folder can be deleted.

    Raises:
        RunError: there is not enough memory or disk space, or the folder cannot be written to.

    >>> cache = PixelCache(images=2, side=4, gigabytes=1)
    >>> cache.get(1) is None
    True
    >>> cache.put(1, np.ones((4, 4, 3), np.uint8))
    >>> cache.get(1).sum(), cache.get(0) is None
    (np.uint64(48), True)
    """

    def __init__(self, images: int, side: int, gigabytes: float, file: Path | None = None) -> None:
        self.side = side
        self._file = file
        self._shape = (min(images, int(gigabytes * 1e9 / (side * side * 3))), side, side, 3)
        self._check_room()
        self._arrays: tuple[UInt8Array, UInt8Array] | None = None
        if file is None:
            # Tensors, because torch's shared memory works with both fork and spawn.
            self._pixels = torch.zeros(self._shape, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
            self._filled = torch.zeros(self._shape[0], dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        else:
            self._start_files(file)

    @property
    def room(self) -> int:
        """The number of images that it can hold."""
        return self._shape[0]

    def _start_files(self, file: Path) -> None:
        """Create the files if they are missing or damaged."""
        try:
            whole = all(_is_whole(path, shape) for path, shape in self._files())
            for path, shape in () if whole else self._files():
                with replacing(path) as temporary:
                    _create_file(temporary, shape)
        except OSError as error:
            raise RunError(
                f"--cache disk cannot write to {file.parent} ({error.strerror or error}): give it room and "
                "permission to write, or give --cache ram, or none"
            ) from error

    def get(self, index: int) -> UInt8Array | None:
        """The pixels of an image, (side, side, 3); None if they are not in the cache."""
        pixels, filled = self._open()
        return np.array(pixels[index]) if index < len(filled) and filled[index] else None

    def put(self, index: int, image: UInt8Array) -> None:
        """Store the pixels of an image, if there is room for it."""
        pixels, filled = self._open()
        if index < len(filled):
            pixels[index] = image
            filled[index] = 1  # last, because other processes may then read the pixels

    def _open(self) -> tuple[UInt8Array, UInt8Array]:
        if self._arrays is None:
            if self._file is None:
                self._arrays = self._pixels.numpy(), self._filled.numpy()
            else:
                pixels, filled = (np.load(path, mmap_mode="r+", allow_pickle=False) for path, _ in self._files())
                self._arrays = pixels, filled
        return self._arrays

    def _files(self) -> list[tuple[Path, tuple[int, ...]]]:
        assert self._file is not None
        return [(self._file, self._shape), (self._file.with_suffix(".filled.npy"), self._shape[:1])]

    def _check_room(self) -> None:
        size = math.prod(self._shape)
        where = _SHARED if self._file is None else next(one for one in self._file.parents if one.exists())
        if (self._file is not None and self._file.is_file()) or not where.is_dir():
            return
        free = shutil.disk_usage(where).free
        if size > free:
            raise RunError(
                f"--cache of {self._shape[0]} images takes {size / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free "
                f"in {where}: give a smaller --cache-size, or --cache {'disk' if self._file is None else 'ram'}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}


def _create_file(path: Path, shape: tuple[int, ...]) -> None:
    """Write an array of zeros, and take its space: if the disk filled up later, writing to a memory map would be fatal.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
    if sys.platform == "linux":
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a file exists and holds a uint8 array of this shape."""
    if not path.is_file():
        return False
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader raises many types
        log.warning("%s is damaged (%s): its images are decoded again", path, describe(error))
        return False
    return bool(array.dtype == np.uint8 and array.shape == shape)


def create_cache(config: TrainConfig, samples: SampleSet) -> PixelCache | None:
    """Create the cache that the settings ask for; None if they ask for none.

    The cached squares are so large that even the smallest random crop is as large as the network's input.
    """
    if config.cache == "none":
        return None
    side = math.ceil(config.preprocessing.image_size / math.sqrt(config.optim.min_crop))
    file = None
    if config.cache == "disk":
        identity = [identify_files(samples), json.loads(to_json(config.preprocessing)), side, config.cache_size]
        name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        file = config.out.parent / ".pixels" / f"{name}.npy"
    return PixelCache(len(samples), side, config.cache_size, file)


def cached_preprocessing(preprocessing: Preprocessing, cache: PixelCache) -> Preprocessing:
    """The preprocessing of images before they are stored in the cache."""
    return Preprocessing(
        image_size=cache.side, resize=preprocessing.resize, mean=preprocessing.mean, std=preprocessing.std
    )
