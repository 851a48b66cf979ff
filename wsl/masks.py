"""Annotated masks: which class each pixel of an image belongs to."""

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
"""The number of a pixel that counts for nothing: VOC's contours, objects that nobody outlined."""


def read_mask(path: str | Path, size: tuple[int, int] | None = None) -> UInt8Array:
    """The numbers of a mask file: 0 is background, i the i-th class, 255 counts for nothing.

    A palette image gives its indices, as VOC stores them; a grey one its values.

    Shape:
        (H, W) uint8.

    Raises:
        UserError: no such file, not a picture of one 8-bit channel, or another ``size`` (width, height) than the image.

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
    """The mask of an image of one class from a file an object, as the WSOL benchmark keeps OpenImages.

    A pixel belongs to the class (1) where a file is not 0. It counts for nothing (255) where ``ignore`` is not 0,
    unless it belongs to an object. Files may have a resolution of their own, as those of OpenImages: the nearest of
    their pixels counts.

    Shape:
        ``size`` is (width, height); the result is (height, width) uint8.

    Raises:
        UserError: no path, or a file cannot be read.

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
