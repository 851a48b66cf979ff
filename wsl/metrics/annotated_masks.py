"""The true class of each pixel of a sample, checked against its classes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.masks import IGNORED, object_mask, read_mask
from wsl.samples import Sample

Classes = npt.NDArray[np.int32]


def has_mask(sample: Sample) -> bool:
    """Whether somebody outlined what is in the image.

    >>> has_mask(Sample(path="a.jpg"))
    False
    """
    return sample.mask is not None or bool(sample.object_masks)


def pixel_classes(
    sample: Sample, classes: Sequence[str], size: tuple[int, int], resolution: tuple[int, int] | None = None
) -> Classes:
    """The class of each pixel: 0 for background, i for the i-th class, -1 where nobody is sure.

    ``resolution`` (width, height) takes the nearest pixels instead of all, as the WSOL benchmark does at 224x224.

    Shape:
        ``size`` is (width, height) of the image; the result is (height, width) int32.

    Raises:
        UserError: the sample has no mask, one of another size, one with a number that is no class, or files of one
            class though it has several.

    >>> pixel_classes(Sample(path="a.jpg"), ["dog"], (2, 2))
    Traceback (most recent call last):
    wsl.errors.UserError: a.jpg: no mask is annotated, expected a file of class numbers: leave the image out
    """
    if sample.mask is not None:
        numbers = read_mask(sample.mask, size)
        beyond = numbers[(numbers > len(classes)) & (numbers != IGNORED)]
        if beyond.size:
            raise UserError(
                f"{sample.mask}: the number {int(beyond[0])} is no class, expected 0 to {len(classes)}, or {IGNORED} "
                "where nobody is sure"
            )
        if resolution is not None:
            numbers = np.asarray(cv2.resize(numbers, resolution, interpolation=cv2.INTER_NEAREST), np.uint8)
        return np.where(numbers == IGNORED, -1, numbers.astype(np.int32))
    if not sample.object_masks:
        raise UserError(f"{sample.path}: no mask is annotated, expected a file of class numbers: leave the image out")
    if len(sample.labels) != 1:
        raise UserError(f"{sample.path}: masks a file an object with {len(sample.labels)} labels, expected one label")
    objects = object_mask(sample.object_masks, sample.ignore_mask, resolution or size)
    number = list(classes).index(sample.labels[0]) + 1
    return np.where(objects == IGNORED, -1, objects.astype(np.int32) * number)
