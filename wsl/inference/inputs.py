"""Images as inputs of the predictor and of the network."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.images import Geometry, ImageLike, find_images
from wsl.images.sources import is_image_name


class Source(NamedTuple):
    """An image with an id and classes from the caller.

    `id` names an image without a file, or renames one with a file. `classes` are localized in this image instead of
    those chosen by the predictor; None leaves the choice to the predictor.

    >>> Source("photos/a.jpg", classes=("dog",)).id
    ''
    """

    image: ImageLike
    id: str = ""
    classes: Sequence[str] | None = None

    @property
    def path(self) -> Path:
        """The image's file, or its id if it has none."""
        return Path(self.image) if isinstance(self.image, (str, os.PathLike)) else Path(self.id)


Sources: TypeAlias = "str | os.PathLike[str] | Iterable[ImageLike | Source | Input]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """An image prepared for the network, with its geometry for mapping results to the original's pixels.

    It is made by `Predictor.prepare` or a `Preparer`, and can be sent to another process. ``pixels`` (S, S, 3) uint8
    are the network's square input; a predictor on CUDA leaves an ordinary JPEG to the device and keeps its bytes in
    ``jpeg`` instead. ``image`` is the image as given by the caller, None if it was left behind.
    """

    path: Path
    id: str
    image: ImageLike | None
    geometry: Geometry
    pixels: npt.NDArray[np.uint8] | None = None
    jpeg: bytes | None = None
    classes: tuple[str, ...] | None = None


def as_source(item: ImageLike | Source, number: int) -> Source:
    """An item of a stream as a `Source`; an image without file and id gets its number as id.

    An open file is read here, because the caller may close it before a thread decodes it, because it cannot be sent to
    another process, and because its image is read a second time for display.

    >>> as_source(b"...", 7).id
    '7'
    """
    source = item if isinstance(item, Source) else Source(item)
    if hasattr(source.image, "read"):
        source = source._replace(image=_contents(source.image))
    if source.id or isinstance(source.image, (str, os.PathLike)):
        return source
    return source._replace(id=str(number))


def numbered(items: Iterable[ImageLike | Source | Input]) -> Iterator[Source | Input]:
    """The items of a stream as sources, as by `as_source`; prepared images are unchanged.

    >>> [source.id for source in numbered([b"...", Source(b"...", "b"), b"..."])]
    ['0', 'b', '2']
    """
    for number, item in enumerate(items):
        yield item if isinstance(item, Input) else as_source(item, number)


def check_sizes(inputs: Sequence[Input], side: int) -> None:
    """Check that images were prepared for a network whose input has sides of `side` pixels.

    Raises:
        UserError: one was prepared for another size.

    >>> check_sizes([], 224)
    """
    expected = (side, side, 3)
    for one in inputs:
        shape = (*one.geometry.canvas[::-1], 3) if one.pixels is None else one.pixels.shape
        if shape != expected:
            raise UserError(
                f"{one.path}: prepared pixels of shape {shape}, expected {expected}: prepare the image with the "
                "predictor that localizes in it"
            )


def _contents(file: Any) -> Any:
    """The bytes of an open file, or the file itself if it cannot be read, for which `to_rgb` raises the error."""
    try:
        data = file.read()
    except (OSError, ValueError):
        return file
    return data if isinstance(data, bytes) else file


def expand(sources: Any) -> Iterable[ImageLike | Source | Input]:
    """The images of some sources, one after another, with folders and globs expanded to their files.

    Raises:
        UserError: a file, folder or glob holds no image.

    >>> list(expand([b"...", "a.jpg"]))
    [b'...', 'a.jpg']
    """
    given: Any = sources
    if isinstance(given, (str, os.PathLike)):
        # Expanded now, so that a wrong name is an error before anything runs.
        return find_images([os.fspath(given)])
    # These are single images, although they can be iterated.
    single = isinstance(given, (bytes, bytearray, memoryview, Source)) or hasattr(given, "read")
    if single or getattr(given, "ndim", 4) == 3 or not isinstance(given, Iterable):
        return [given]
    return _expand(given)


def _expand(sources: Iterable[Any]) -> Iterator[Any]:
    for source in sources:
        if isinstance(source, (str, os.PathLike)):
            name = os.fspath(source)
            # Names with an image suffix are not checked on disk, which would take as long as opening them.
            folder = not is_image_name(name) and os.path.isdir(name)  # noqa: PTH112
            if folder or (glob.has_magic(name) and not os.path.isfile(name)):  # noqa: PTH113
                yield from find_images([name])
                continue
        yield source
