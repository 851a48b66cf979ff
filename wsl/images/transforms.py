"""Transforms of images to the network's square input: fit, crop and mirror."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import numpy.typing as npt

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images.geometry import Geometry

UInt8Array = npt.NDArray[np.uint8]

# The largest change of aspect ratio by a random crop (Szegedy et al. 2015 use 3/4 to 4/3).
_MAX_ASPECT = 4 / 3


def fit(image: UInt8Array, preprocessing: Preprocessing) -> tuple[UInt8Array, Geometry]:
    """Fit an image to the network's square input, and return the geometry for mapping back.

    ``warp`` stretches it to the square; ``letterbox`` keeps its aspect ratio (to the pixel) and pads it on both sides
    with the mean colour. Sides that shrink are averaged over areas; sides that grow are interpolated linearly.

    Shape:
        (H, W, 3) uint8 to (S, S, 3) uint8.

    Raises:
        UserError: the image is not a non-empty (H, W, 3) uint8 array.

    >>> pixels, geometry = fit(np.zeros((50, 100, 3), np.uint8), Preprocessing(image_size=64, resize="letterbox"))
    >>> pixels.shape, geometry.content
    ((64, 64, 3), (0.0, 16.0, 64.0, 48.0))
    """
    require_image(image)
    geometry = place((image.shape[1], image.shape[0]), preprocessing)
    side = preprocessing.image_size
    left, top, right, bottom = (round(edge) for edge in geometry.content)
    inner = resize(image, right - left, bottom - top)
    if inner.shape[:2] == (side, side):
        return inner, geometry
    colour = np.clip(np.rint(np.asarray(preprocessing.mean) * 255), 0, 255).astype(np.uint8)
    canvas = np.full((side, side, 3), colour, np.uint8)
    canvas[top:bottom, left:right] = inner
    return canvas, geometry


@functools.lru_cache(maxsize=1024)
def place(size: tuple[int, int], preprocessing: Preprocessing) -> Geometry:
    """The geometry of an image of this (width, height) on the network's square input.

    >>> place((100, 50), Preprocessing(image_size=64, resize="letterbox")).content
    (0.0, 16.0, 64.0, 48.0)
    """
    side = preprocessing.image_size
    width, height = size
    inner_w = inner_h = side
    if preprocessing.resize == "letterbox":
        ratio = side / max(width, height)
        inner_w, inner_h = (max(1, round(length * ratio)) for length in (width, height))
    return Geometry(
        original=size,
        canvas=(side, side),
        scale_x=inner_w / width,
        scale_y=inner_h / height,
        offset_x=float((side - inner_w) // 2),
        offset_y=float((side - inner_h) // 2),
    )


def resize(image: UInt8Array, width: int, height: int) -> UInt8Array:
    """An image of another size: sides that shrink are averaged over areas, sides that grow interpolated linearly.

    >>> resize(np.zeros((40, 30, 3), np.uint8), 60, 10).shape
    (10, 60, 3)
    """
    # In two steps, because INTER_AREA averages only if both sides shrink.
    smaller = (min(width, image.shape[1]), min(height, image.shape[0]))
    if smaller != (image.shape[1], image.shape[0]):
        image = np.asarray(cv2.resize(image, smaller, interpolation=cv2.INTER_AREA), np.uint8)
    if smaller != (width, height):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.ascontiguousarray(image)


def augment(image: UInt8Array, rng: np.random.Generator, min_crop: float = 1.0, flip: bool = False) -> UInt8Array:
    """A random crop of an image, with ``flip`` mirrored with probability 1/2.

    The crop keeps a fraction of the area drawn from [``min_crop``, 1], and its aspect ratio is that of the image within
    a factor of 4/3.

    Shape:
        (H, W, 3) uint8 to (h, w, 3) uint8, a view of the image if possible.

    Raises:
        UserError: the image is not a non-empty (H, W, 3) uint8 array, or ``min_crop`` is outside (0, 1].

    >>> image = np.zeros((40, 30, 3), np.uint8)
    >>> augment(image, np.random.default_rng(0), min_crop=1.0, flip=False) is image
    True
    """
    require_image(image)
    if not 0 < min_crop <= 1:
        raise UserError(f"min crop is {min_crop}, expected a fraction of the area in (0, 1]")
    if min_crop < 1:
        height, width = image.shape[:2]
        area = rng.uniform(min_crop, 1)
        limit = math.log(min(_MAX_ASPECT, 1 / area))  # beyond 1/area the crop would be longer than the image
        aspect = math.exp(rng.uniform(-limit, limit))
        crop_w = max(1, round(width * math.sqrt(area * aspect)))
        crop_h = max(1, round(height * math.sqrt(area / aspect)))
        left = int(rng.integers(0, width - crop_w, endpoint=True))
        top = int(rng.integers(0, height - crop_h, endpoint=True))
        image = image[top : top + crop_h, left : left + crop_w]
    if flip and rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    return image


def require_image(image: UInt8Array) -> None:
    """Refuse an image that is not a non-empty (H, W, 3) uint8 array.

    Raises:
        UserError: it is not one.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise UserError(f"an image of shape {image.shape}, {image.dtype}: expected (H, W, 3) uint8, not empty")
