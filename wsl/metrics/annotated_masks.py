"""The ground-truth class of each pixel of a sample, checked against its classes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from wsl import run_lengths
from wsl.errors import UserError
from wsl.masks import IGNORED, object_mask, read_mask
from wsl.samples import Outline, Sample

Classes = npt.NDArray[np.int32]


def has_mask(sample: Sample) -> bool:
    """Whether the image has an annotated mask or outlines.

    >>> has_mask(Sample(path="a.jpg"))
    False
    """
    return sample.mask is not None or bool(sample.object_masks) or sample.outlines is not None


def pixel_classes(
    sample: Sample, classes: Sequence[str], size: tuple[int, int], resolution: tuple[int, int] | None = None
) -> Classes:
    """The class of each pixel: 0 for background, i for the i-th class, -1 for ignored pixels.

    With outlines of single objects, pixels are ignored where two classes overlap, and where there is only a crowd.
    ``resolution`` (width, height) samples the nearest pixels instead of all, as the WSOL benchmark does at 224x224.

    Shape:
        ``size`` is (width, height) of the image; the result is (height, width) int32.

    Raises:
        UserError: the sample has no mask, the mask has another size or a number that is not a class, or there is one
            mask file per object although the sample has several classes.

    >>> pixel_classes(Sample(path="a.jpg"), ["dog"], (2, 2))
    Traceback (most recent call last):
    wsl.errors.UserError: a.jpg: no mask is annotated, expected a file of class numbers: leave the image out
    """
    if sample.mask is not None:
        numbers = read_mask(sample.mask, size)
        beyond = numbers[(numbers > len(classes)) & (numbers != IGNORED)]
        if beyond.size:
            raise UserError(
                f"{sample.mask}: the number {int(beyond[0])} is not a class, expected 0 to {len(classes)}, or "
                f"{IGNORED} to ignore a pixel"
            )
        return _nearest(np.where(numbers == IGNORED, -1, numbers.astype(np.int32)), resolution)
    if sample.outlines is not None:
        return _nearest(_outlined_classes(sample, classes, size), resolution)
    if not sample.object_masks:
        raise UserError(f"{sample.path}: no mask is annotated, expected a file of class numbers: leave the image out")
    if len(sample.labels) != 1:
        raise UserError(f"{sample.path}: masks a file an object with {len(sample.labels)} labels, expected one label")
    objects = object_mask(sample.object_masks, sample.ignore_mask, resolution or size)
    number = list(classes).index(sample.labels[0]) + 1
    return np.where(objects == IGNORED, -1, objects.astype(np.int32) * number)


def class_pixels(sample: Sample, label: str, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask of all objects of one class, including crowds, of a sample with outlines.

    Shape:
        ``size`` is (width, height) of the image; the result is (height, width).

    Raises:
        UserError: the outlines belong to an image of another size.

    >>> from wsl.samples import Outline
    >>> sample = Sample(path="a.jpg", size=(3, 1), outlines=(Outline(label="dog", runs=b"021"),))
    >>> class_pixels(sample, "dog", (3, 1)).tolist()
    [[True, True, False]]
    """
    pixels = np.zeros((size[1], size[0]), np.bool_)
    for outline in sample.outlines or ():
        if outline.label == label:
            pixels |= _decoded(sample, outline, size)
    return pixels


def _nearest(numbers: Classes, resolution: tuple[int, int] | None) -> Classes:
    if resolution is None:
        return numbers
    return np.asarray(cv2.resize(numbers, resolution, interpolation=cv2.INTER_NEAREST), np.int32)


def _outlined_classes(sample: Sample, classes: Sequence[str], size: tuple[int, int]) -> Classes:
    numbers = np.zeros((size[1], size[0]), np.int32)
    ignored = np.zeros(numbers.shape, np.bool_)
    for outline in sample.outlines or ():
        pixels = _decoded(sample, outline, size)
        if outline.ignored:
            ignored |= pixels
        else:
            number = list(classes).index(outline.label) + 1
            before = numbers[pixels]
            numbers[pixels] = np.where((before == 0) | (before == number), number, -1)
    numbers[ignored & (numbers == 0)] = -1
    return numbers


def _decoded(sample: Sample, outline: Outline, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    if sample.size != size:
        raise UserError(f"{sample.path}: outlines for {sample.size} pixels, expected those of the image, {size}")
    return run_lengths.decode(outline.runs, size)
