"""Conversion of pictures with any kind of pixels to 8-bit RGB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsl.errors import BadImageError

UInt8Array = npt.NDArray[np.uint8]

# Pixels converted at a time, because some conversions make several copies.
_STRIP = 1 << 24


def to_rgb8(image: Image.Image) -> UInt8Array:
    """A Pillow image of any mode as 8-bit RGB.

    Raises:
        BadImageError: the image has 32-bit integer or float samples.
    """
    # Pillow scales 16-bit colour itself, clips 16-bit grey, and stores 16-bit PGM in 32 bits.
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    if image.mode in ("I", "F") and not deep:
        kind = "integer" if image.mode == "I" else "float"
        raise BadImageError(f"32-bit {kind} samples have no range that is white; convert it to 8 or 16 bits first")
    convert = _deep_to_rgb8 if deep else _shallow_to_rgb8
    rows = max(1, _STRIP // max(1, image.width))
    if image.height <= rows:
        return convert(image)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        pixels[top:bottom] = convert(image.crop((0, top, image.width, bottom)))
    return pixels


def _deep_to_rgb8(image: Image.Image) -> UInt8Array:
    grey = ((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _shallow_to_rgb8(image: Image.Image) -> UInt8Array:
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return np.array(image.convert("RGB"))
