"""Overlays of class maps on images."""

from __future__ import annotations

import matplotlib
import numpy as np
import numpy.typing as npt

from wsl.errors import UserError, nearest
from wsl.maps import heatmap

UInt8Array = npt.NDArray[np.uint8]


def overlay(
    image: UInt8Array, score_map: npt.ArrayLike, *, color_map: str = "turbo", opacity: float = 0.5
) -> UInt8Array:
    """Overlay a class map on an image: the higher the value, the more opaque the colour.

    The map is resized to the image (bicubically, because bilinear resizing shows cells as stars) and normalised to
    [0, 1]. A value v gets its colour in the colour map with opacity ``opacity * sqrt(v)``, so the minimum is
    transparent. A map without contrast leaves the image unchanged.

    Shape:
        ``image`` is (H, W, 3) uint8 RGB and is not modified, ``score_map`` (h, w) covers the whole image; the result
        has the shape of the image.

    Raises:
        UserError: the image or map has another type or shape, the colour map is unknown, or the opacity is outside
            [0, 1].

    >>> import numpy as np
    >>> grey = np.full((1, 3, 3), 128, np.uint8)
    >>> overlay(grey, [[0, 0, 1]], opacity=1.0)[0].tolist()
    [[128, 128, 128], [128, 128, 128], [122, 4, 3]]
    """
    photo = as_image(image)
    if not 0 <= opacity <= 1:
        raise UserError(f"opacity is {opacity}, expected 0 (photograph only) to 1: try 0.5")
    colours = palette(color_map)
    height, width = photo.shape[:2]
    heat = heatmap(score_map, (width, height), "bicubic")
    if not heat.any():
        return photo.copy()
    strength = opacity * np.sqrt(heat)[..., None]
    # In float, because negative differences would wrap around in uint8.
    below = photo.astype(np.float32)
    colour = colours[np.rint(heat * 255).astype(np.intp)]
    return np.asarray(np.rint(below + strength * (colour - below)), np.uint8)


def as_image(image: UInt8Array) -> UInt8Array:
    """The array itself, if it is an image.

    Raises:
        UserError: it is not (H, W, 3) uint8.

    >>> as_image(np.zeros((2, 3, 3), np.uint8)).shape
    (2, 3, 3)
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
        raise UserError(f"image is {array.dtype} {array.shape}, expected RGB: uint8 (H, W, 3) with at least one pixel")
    return array


def palette(name: str) -> npt.NDArray[np.float32]:
    """A colour map of matplotlib as 256 RGB colours from 0 to 255, lowest value first, (256, 3).

    Raises:
        UserError: matplotlib has no such colour map.

    >>> palette("turbo")[-1].round().tolist()
    [122.0, 4.0, 3.0]
    """
    if name not in matplotlib.colormaps:
        close = nearest(name, matplotlib.colormaps)
        hint = f"did you mean {close}?" if close else "try turbo, viridis or inferno"
        raise UserError(f"colour map {name!r} is not one of matplotlib's: {hint}")
    return np.asarray(255 * matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3], np.float32)
