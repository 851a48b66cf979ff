"""One image on its way into the network."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from wsl.images import Geometry, ImageLike, find_images
from wsl.images.sources import is_image_name


class Source(NamedTuple):
    """An image with what the caller knows of it.

    `id` names an image that has no file, or renames one that has. `classes` are localized in this image in the place
    of those that the predictor picks; None leaves the choice to the predictor.

    >>> Source("photos/a.jpg", classes=("dog",)).id
    ''
    """

    image: ImageLike
    id: str = ""
    classes: Sequence[str] | None = None


Sources: TypeAlias = "str | os.PathLike[str] | Iterable[ImageLike | Source]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """An image as the network takes it, and the way back to the original's pixels.

    `Predictor.prepare` makes it, and it can be sent to another process. ``pixels`` (S, S, 3) uint8 are the network's
    square input; a predictor on CUDA leaves an ordinary JPEG to the device and keeps its bytes in ``jpeg`` instead.
    ``image`` is what the caller gave.
    """

    path: Path
    id: str
    image: ImageLike
    geometry: Geometry
    pixels: npt.NDArray[np.uint8] | None = None
    jpeg: bytes | None = None
    classes: tuple[str, ...] | None = None


def as_source(item: ImageLike | Source, number: int) -> Source:
    """An item of a stream as a `Source`; an image without file and id gets its number as id.

    An open file is read here: whoever gave it may close it before a thread comes to decode it, it cannot be sent to
    another process, and its image is read a second time when it is shown.

    >>> as_source(b"...", 7).id
    '7'
    """
    source = item if isinstance(item, Source) else Source(item)
    if hasattr(source.image, "read"):
        source = source._replace(image=_contents(source.image))
    if source.id or isinstance(source.image, (str, os.PathLike)):
        return source
    return source._replace(id=str(number))


def _contents(file: Any) -> Any:
    """The bytes of an open file, or the file itself where it has none to give: `to_rgb` says why."""
    try:
        data = file.read()
    except (OSError, ValueError):
        return file
    return data if isinstance(data, bytes) else file


def expand(sources: Any) -> Iterable[ImageLike | Source]:
    """The images of some sources, one after the other: folders and globs become the files that they mean.

    Raises:
        UserError: a file, folder or glob holds no image.

    >>> list(expand([b"...", "a.jpg"]))
    [b'...', 'a.jpg']
    """
    given: Any = sources
    if isinstance(given, (str, os.PathLike)):
        # Looked for now, so that a wrong name is an error before anything runs.
        return find_images([os.fspath(given)])
    # One image, though it could be iterated, too.
    single = isinstance(given, (bytes, bytearray, memoryview, Source)) or hasattr(given, "read")
    if single or getattr(given, "ndim", 4) == 3 or not isinstance(given, Iterable):
        return [given]
    return _expand(given)


def _expand(sources: Iterable[Any]) -> Iterator[Any]:
    for source in sources:
        if isinstance(source, (str, os.PathLike)):
            name = os.fspath(source)
            # A name that looks like an image's is not asked what it is, which would take as long as opening it.
            folder = not is_image_name(name) and os.path.isdir(name)  # noqa: PTH112
            if folder or (glob.has_magic(name) and not os.path.isfile(name)):  # noqa: PTH113
                yield from find_images([name])
                continue
        yield source
