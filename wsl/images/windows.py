"""Images that are read window by window: GeoTIFFs from their file, all others from their decoded pixels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wsl.errors import BadImageError
from wsl.images.decode import read_bytes
from wsl.images.memory import ImageLike, to_rgb
from wsl.images.raster import SUFFIXES, Raster, Window

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ROWS = 512


class Windowed(Protocol):
    """An image of a known ``size`` (width, height), as 8-bit RGB."""

    size: tuple[int, int]

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """The pixels of a window, (height, width, 3)."""


class _Decoded:
    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.size = (pixels.shape[1], pixels.shape[0])
        self._pixels = pixels

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        x, y, width, height = window
        return np.ascontiguousarray(self._pixels[y : y + height, x : x + width])


@contextlib.contextmanager
def open_windows(
    image: ImageLike, bands: Sequence[int] = (), *, max_pixels: int | None = None, name: str = "image"
) -> Iterator[Windowed]:
    """Open an image for the duration of a block.

    Files that end in .tif or .tiff, and bytes that begin as those of a TIFF, are opened as GeoTIFFs with these `bands`.
    Of a file on a disk only the windows that are read are in memory. Error messages about an image without a file start
    with `name`.

    Raises:
        UserError: the image is a GeoTIFF, and rasterio is not installed.
        BadImageError: it cannot be read, has more than `max_pixels`, or `bands` of an image that is no GeoTIFF are
            asked for.

    >>> with open_windows(np.zeros((40, 60, 3), np.uint8)) as opened:
    ...     opened.size, opened.read(Window(50, 0, 10, 20)).shape
    ((60, 40), (20, 10, 3))
    """
    path = Path(image) if isinstance(image, (str, os.PathLike)) else None
    if path is not None and is_geotiff(path):
        data = None if path.is_file() else read_bytes(path)  # a member of an archive
        with Raster.open(path, bands, data=data, max_pixels=max_pixels) as raster:
            yield raster
    elif isinstance(image, bytes) and image.startswith(_TIFF):
        with Raster.open(Path(name), bands, data=image, max_pixels=max_pixels) as raster:
            yield raster
    elif bands:
        raise BadImageError(f"{path or name}: has no bands to choose from, expected a GeoTIFF")
    else:
        yield _Decoded(to_rgb(image, max_pixels, name))


def is_geotiff(path: Path) -> bool:
    """Whether a file is opened as a GeoTIFF, by its name.

    >>> is_geotiff(Path("scene.TIF")), is_geotiff(Path("photo.jpg"))
    (True, False)
    """
    return path.suffix.lower() in SUFFIXES


def read_whole(image: ImageLike, bands: Sequence[int] = (), *, max_pixels: int | None = None) -> npt.NDArray[np.uint8]:
    """All pixels of an image, as `open_windows` reads them, for a picture.

    Shape:
        (H, W, 3).

    Raises:
        UserError, BadImageError: as for `open_windows`.

    >>> read_whole(np.ones((40, 60, 3), np.uint8)).shape
    (40, 60, 3)
    """
    with open_windows(image, bands, max_pixels=max_pixels) as opened:
        width, height = opened.size
        pixels = np.empty((height, width, 3), np.uint8)
        # Deeper bands are scaled in float64, of which only some rows should be in memory.
        for y in range(0, height, _ROWS):
            pixels[y : y + _ROWS] = opened.read(Window(0, y, width, min(_ROWS, height - y)))
        return pixels
