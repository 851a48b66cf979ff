"""A `Localization` over its image: the heatmap of a class, and boxes."""

from __future__ import annotations

from typing import Any

from wsl.boxes import FloatArray
from wsl.draw.boxes import draw_boxes
from wsl.draw.overlays import UInt8Array, overlay
from wsl.errors import BadImageError, UserError, nearest
from wsl.images import to_rgb
from wsl.maps import heatmap
from wsl.results import Localization


def localization_heatmap(found: Localization, label: str | None = None) -> FloatArray:
    """The heatmap of a localized class: its map resized to the image and normalised to [0, 1].

    Shape:
        (H, W) float32 for an image of ``size`` (W, H).

    Raises:
        UserError: as for `class_map`.

    >>> from wsl.boxes import Boxes
    >>> dog = Localization(path="a.jpg", size=(4, 2), scores={}, boxes=Boxes.empty(), maps={"dog": [[2, 6]]})
    >>> localization_heatmap(dog)[0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    return heatmap(class_map(found, label), found.size)


def localization_overlay(
    found: Localization,
    label: str | None = None,
    *,
    image: Any = None,
    opacity: float = 0.5,
    boxes: bool = True,
) -> UInt8Array:
    """The heatmap of a localized class and the boxes of the class over the image.

    Without `label`, the heatmap is that of the localized class with the highest probability, and the boxes are those of
    all classes. An image in which nothing was localized is returned unchanged. `image` replaces ``found.image`` and may
    be a resized copy of it, to which the boxes are scaled.

    Shape:
        (H, W, 3) uint8 RGB, the size of the image.

    Raises:
        BadImageError: the image cannot be read (any more).
        UserError: the image has another aspect ratio, the opacity is outside [0, 1], or as for `class_map`.

    >>> import numpy as np
    >>> from wsl.boxes import Boxes
    >>> dog = Localization(path="a.jpg", size=(4, 2), scores={}, boxes=Boxes.empty(), maps={"dog": [[2, 6]]})
    >>> localization_overlay(dog, image=np.zeros((2, 4, 3), np.uint8)).shape
    (2, 4, 3)
    """
    empty = label is None and found.maps is not None and not found.maps
    score_map = None if empty else class_map(found, label)
    photo = photo_of(found, image)
    photo = photo.copy() if score_map is None else overlay(photo, score_map, opacity=opacity)
    if not boxes:
        return photo
    shown = found.boxes if label is None else found.boxes.of(label)
    return draw_boxes(photo, shown.scaled(found.size, to=photo.shape[1::-1]))


def class_map(found: Localization, label: str | None = None) -> FloatArray:
    """The map of a localized class, by default the one with the highest probability.

    Raises:
        UserError: the localization has no maps, or none of this class.

    >>> from wsl.boxes import Boxes
    >>> dog = Localization(path="a.jpg", size=(4, 2), scores={"cat": 0.1}, boxes=Boxes.empty(), maps={"dog": [[2, 6]]})
    >>> class_map(dog, "dgo")
    Traceback (most recent call last):
    wsl.errors.UserError: a: 'dgo' was not localized; did you mean 'dog'? Localized: dog
    """
    if found.maps is None:
        raise UserError(
            f"{found.id}: this localization has no maps; expected one that a predictor made, or results that "
            "wsl-localize wrote with --maps"
        )
    if not found.maps:
        raise UserError(f"{found.id}: no class was localized; expected a lower score threshold, or classes by name")
    if label is None:
        label = max(found.maps, key=lambda name: found.scores.get(name, 0.0))
    if not isinstance(label, str):
        raise UserError(f"{found.id}: label is {label!r}, expected the name of one class: {', '.join(found.maps)}")
    if label in found.maps:
        return found.maps[label]
    if label in found.scores:
        advice = f"give classes=[{label!r}] to the predictor or a higher top_k."
    else:
        near = nearest(label, dict.fromkeys([*found.maps, *found.scores]))
        advice = f"did you mean {near!r}?" if near else "expected a localized class."
    raise UserError(f"{found.id}: {label!r} was not localized; {advice} Localized: {', '.join(found.maps)}")


def photo_of(found: Localization, image: Any = None) -> UInt8Array:
    """The image of a localization, read again, or `image` instead.

    Shape:
        (H, W, 3) uint8 RGB, of the localization's aspect ratio.

    Raises:
        BadImageError: the image cannot be read (any more).
        UserError: its aspect ratio differs from that of the localization.

    >>> from wsl.boxes import Boxes
    >>> dog = Localization(path="gone.jpg", size=(4, 2), scores={}, boxes=Boxes.empty())
    >>> photo_of(dog)
    Traceback (most recent call last):
    wsl.errors.BadImageError: gone.jpg: no such file; the image cannot be read again, give it as image=...
    """
    try:
        photo = to_rgb(found.image if image is None else image, name=found.id)
    except BadImageError as error:
        if image is not None:
            raise
        raise BadImageError(f"{error}; the image cannot be read again, give it as image=...") from error
    _check_size(found, photo)
    return photo


def _check_size(found: Localization, photo: UInt8Array) -> None:
    """Refuse an image whose aspect ratio is not that of the localization, up to the rounding of a resize."""
    (width, height), (rows, columns) = found.size, photo.shape[:2]
    if (columns - 1) / width >= (rows + 1) / height or (rows - 1) / height >= (columns + 1) / width:
        raise UserError(
            f"{found.id}: the image is {columns} x {rows} pixels, expected the one that was localized "
            f"({width} x {height}) or a resized copy"
        )
