"""The heatmaps of all localized classes of an image on one picture, each with its name."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy.typing as npt

from wsl.draw.overlays import UInt8Array, overlay
from wsl.draw.sheets import cell_of, contact_sheet, fit_into
from wsl.errors import UserError

# Long sides of a heatmap in pixels: letters need some room, and a page of many some bound.
_SMALLEST, _LARGEST, _OF_MANY = 320, 800, 320
_FEW, _MOST = 4, 48
_PAGE_ASPECT = 1.8


def draw_heatmaps(
    image: UInt8Array, maps: Mapping[str, npt.ArrayLike], scores: Mapping[str, float] | None = None
) -> UInt8Array:
    """Lay the map of each class over the image, side by side, each with its name and probability below it.

    The class of highest probability comes first. Of more than 48 classes, those of highest probability are drawn, and
    the heading says so.

    Shape:
        ``image`` is (H, W, 3) uint8 RGB, ``maps`` are (h, w) each, over the whole image.

    Raises:
        UserError: no map, or another kind of image or map.

    >>> import numpy as np
    >>> draw_heatmaps(np.zeros((120, 160, 3), np.uint8), {"cat": np.eye(4), "dog": np.eye(4)}).ndim
    3
    """
    if not maps:
        raise UserError("a picture of no maps: expected at least one class")
    scores = scores or {}
    names = sorted(maps, key=lambda name: -scores.get(name, 0.0))[:_MOST]
    small = _scaled(image, len(names))
    height, width = small.shape[:2]
    heading = f"The {_MOST} of {len(maps)} classes of highest probability" if len(maps) > _MOST else ""
    return contact_sheet(
        [overlay(small, maps[name]) for name in names],
        columns=_columns(len(names), width / height),
        titles=[f"{name} {scores[name]:.2f}" if name in scores else name for name in names],
        heading=heading,
        cell=cell_of(small),
    )


def _scaled(image: UInt8Array, count: int) -> UInt8Array:
    """The image in the size that it has on the page."""
    longest = _LARGEST if count <= _FEW else _OF_MANY
    side = min(max(*image.shape[:2], _SMALLEST), longest)
    # Narrower cells would not hold a name.
    short = min(image.shape[:2]) / max(image.shape[:2])
    return fit_into(image, (side, side)) if short >= 0.25 else fit_into(image, (2 * side, 2 * side))


def _columns(count: int, aspect: float) -> int:
    """The number of columns with which a page of so many pictures is most like a sheet of paper on its side."""

    def unlike(columns: int) -> float:
        return abs(math.log(columns * aspect / math.ceil(count / columns) / _PAGE_ASPECT))

    return min(range(1, count + 1), key=unlike)
