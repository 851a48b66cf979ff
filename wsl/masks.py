"""Annotated masks: the class of each pixel of an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from wsl.errors import BadImageError, UserError
from wsl.images.decode import read_numbers

UInt8Array = npt.NDArray[np.uint8]

IGNORED = 255
"""The number of ignored pixels: VOC's contours, objects without an outline."""


def read_mask(path: str | Path, size: tuple[int, int] | None = None) -> UInt8Array:
    """The numbers of a mask file: 0 is background, i the i-th class, 255 ignored.

    They are the indices of a palette image, as in VOC, or the values of a grey image.

    Shape:
        (H, W) uint8.

    Raises:
        UserError: the file does not exist, is not a picture of one 8-bit channel, or does not have the ``size`` (width,
            height).

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.png")
    ...     Image.fromarray(np.uint8([[0, 2, 255]])).save(file)
    ...     read_mask(file).tolist()
    [[0, 2, 255]]
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such mask, expected a PNG of class numbers")
    try:
        return read_numbers(path, size)
    except BadImageError as error:
        raise UserError(f"mask {error}") from error


def object_mask(paths: Sequence[str | Path], ignore: str | Path | None, size: tuple[int, int]) -> UInt8Array:
    """The mask of an image of one class from one file per object, as in the WSOL benchmark's OpenImages.

    A pixel belongs to the class (1) where a file is not 0. It is ignored (255) where ``ignore`` is not 0, unless it
    belongs to an object. Files may have another resolution than the image, as in OpenImages; the nearest pixel is
    taken.

    Shape:
        ``size`` is (width, height); the result is (height, width) uint8.

    Raises:
        UserError: no path is given, or a file cannot be read.

    >>> object_mask([], None, (2, 2))
    Traceback (most recent call last):
    wsl.errors.UserError: no mask files, expected at least one
    """
    if not paths:
        raise UserError("no mask files, expected at least one")
    objects = np.any([_resized(path, size) for path in paths], axis=0)
    mask: UInt8Array = objects.astype(np.uint8)
    if ignore is not None:
        mask[_resized(ignore, size) & ~objects] = IGNORED
    return mask


def _resized(path: str | Path, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    numbers = read_mask(path)
    return np.asarray(cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST) != 0)
