"""Where a worker gets the images of a shard from: bytes fetched by its own threads, or images prepared elsewhere."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from wsl.errors import BadImageError
from wsl.formats.shards.fetch import Fetcher
from wsl.formats.shards.storage import is_remote, local_path
from wsl.images.rows import ImageRow
from wsl.images.windows import is_geotiff
from wsl.inference.inputs import Input, Source
from wsl.inference.preparing import Preparer
from wsl.inference.shards.fetching import fetched

_THREADS, _REMOTE_THREADS = 4, 32


class Wanted(NamedTuple):
    """An image of a shard, and the classes to localize in it; None leaves the choice to the predictor.

    >>> Wanted(ImageRow("a.jpg", "a")).classes is None
    True
    """

    row: ImageRow
    classes: tuple[str, ...] | None = None


class Supply(Protocol):
    """Gets the images of a shard for a worker, with which it is pickled."""

    def __call__(self, wanted: Sequence[Wanted], preparer: Preparer) -> Iterator[Source | Input | BadImageError]:
        """The images in order, prepared or to be prepared; the error takes the place of one that cannot be had."""


class FetchingThreads:
    """Fetches the bytes of images by threads of this process, each within `seconds`.

    >>> from wsl.config import Preprocessing
    >>> preparer = Preparer(preprocessing=Preprocessing(), max_pixels=10_000, classes={})
    >>> list(FetchingThreads(seconds=10)([Wanted(ImageRow("no such.jpg", "a"))], preparer))
    [UnfetchedError('no such.jpg: no such file')]
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._fetch = Fetcher(seconds)

    def __call__(self, wanted: Sequence[Wanted], preparer: Preparer) -> Iterator[Source | BadImageError]:
        """The bytes of the images, which the predictor prepares."""
        rows = [one.row for one in wanted]
        remote = any(is_remote(row.file or row.path) for row in rows)
        threads = min(_REMOTE_THREADS if remote else _THREADS, len(rows))
        found = fetched(rows, self._fetch, threads=threads, seconds=self._seconds)
        for one, data in zip(wanted, found, strict=True):
            yield data if isinstance(data, BadImageError) else Source(data, id=one.row.path, classes=one.classes)


class WholeImages:
    """Images to be cut into tiles, one at a time, because they are large: GeoTIFFs of this machine by their path.

    All others are fetched as by `FetchingThreads`, each within `seconds`.

    >>> from wsl.config import Preprocessing
    >>> preparer = Preparer(preprocessing=Preprocessing(), max_pixels=10_000, classes={})
    >>> list(WholeImages(seconds=10)([Wanted(ImageRow("no such.tif", "a"))], preparer))
    [UnfetchedError('no such.tif: no such file')]
    """

    def __init__(self, seconds: float) -> None:
        self._fetching = FetchingThreads(seconds)

    def __call__(self, wanted: Sequence[Wanted], preparer: Preparer) -> Iterator[Source | BadImageError]:
        """The files or bytes of the images, which the predictor cuts into tiles."""
        for one in wanted:
            row = one.row
            path = None if is_remote(row.path) or row.offset is not None else local_path(row.path)
            if path is not None and is_geotiff(path) and path.is_file():
                yield Source(path, id=row.path, classes=one.classes)
            else:
                yield from self._fetching([one], preparer)


def prepared(wanted: Sequence[Wanted], preparer: Preparer, seconds: float) -> list[Input | BadImageError]:
    """Fetch and prepare some images, for another process, to which their files are not sent.

    >>> from wsl.config import Preprocessing
    >>> preparer = Preparer(preprocessing=Preprocessing(), max_pixels=10_000, classes={})
    >>> [str(error) for error in prepared([Wanted(ImageRow("no such.jpg", "a"))], preparer, 10)]
    ['no such.jpg: no such file']
    """
    images = _threads(seconds)(wanted, preparer)
    return [one if isinstance(one, BadImageError) else _sendable(preparer.attempt(one)) for one in images]


def _sendable(image: Input | BadImageError) -> Input | BadImageError:
    return image if isinstance(image, BadImageError) else dataclasses.replace(image, image=None)


@functools.cache
def _threads(seconds: float) -> FetchingThreads:
    """Those of this process, which keep connections to stores open between calls."""
    return FetchingThreads(seconds)
