"""Annotated masks: which class each pixel of an image belongs to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from wsl.errors import UserError

UInt8Array = npt.NDArray[np.uint8]

IGNORED = 255
"""The number of a pixel that counts for nothing: VOC's contours, objects that nobody outlined."""

_MODES = ("P", "L", "1")


def read_mask(path: str | Path, size: tuple[int, int] | None = None) -> UInt8Array:
    """The numbers of a mask file: 0 is background, i the i-th class, 255 counts for nothing.

    A palette image gives its indices, as VOC stores them; a grey one its values.

    Shape:
        (H, W) uint8.

    Raises:
        UserError: no such file, not a picture of one 8-bit channel, or another ``size`` (width, height).

    >>> import tempfile
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
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                mode = picture.mode
                numbers = np.array(picture, np.uint8) if mode in _MODES else None
    except Exception as error:
        # On damaged files Pillow's readers raise a dozen kinds.
        raise UserError(f"{path}: cannot be read as a mask ({error}), expected a PNG of class numbers") from error
    if numbers is None:
        raise UserError(f"{path}: a mask in colour mode {mode}, expected class numbers in one 8-bit channel")
    if size is not None and numbers.shape != (size[1], size[0]):
        raise UserError(
            f"{path}: a mask of {numbers.shape[1]}x{numbers.shape[0]} pixels, expected the image's {size[0]}x{size[1]}"
        )
    return numbers


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
