"""The settings of transformers' image processors, converted to `Preprocessing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsl.config import Preprocessing

# The largest stored pixel value, which is 1 for `Preprocessing`.
_WHITE = 255.0


def read_processor(settings: Mapping[str, Any], native: Any = None) -> Preprocessing:
    """An image processor's steps as an image size, and a mean and std of pixels in [0, 1].

    `native` is the size in the network's configuration, for settings without one. Without settings, mean and std are
    those of ImageNet.

    >>> read_processor({"size": {"shortest_edge": 384}, "do_rescale": True, "do_normalize": False})
    Preprocessing(image_size=384, resize='warp', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    """
    side = _side(settings.get("crop_size")) if settings.get("do_center_crop") else None
    side = side or _side(settings.get("size")) or _side(native) or Preprocessing().image_size
    if not settings:
        return Preprocessing(image_size=side)
    scale, offset = _WHITE, 0.0
    if settings.get("do_rescale"):
        # Rounded, to be exactly 1 if pixels are divided by 255.
        scale = round(_WHITE * float(settings.get("rescale_factor") or 1 / _WHITE), 9)
        offset = 1.0 if settings.get("rescale_offset") else 0.0
    mean, std = [0.0] * 3, [1.0] * 3
    if settings.get("do_normalize"):
        mean, std = _channels(settings["image_mean"]), _channels(settings["image_std"])
    if settings.get("include_top"):  # EfficientNet's divides twice
        std = [one * one for one in std]
    mean_r, mean_g, mean_b = ((one + offset) / scale for one in mean)
    std_r, std_g, std_b = (one / scale for one in std)
    return Preprocessing(image_size=side, mean=(mean_r, mean_g, mean_b), std=(std_r, std_g, std_b))


def _channels(value: Any) -> list[float]:
    return [float(one) for one in value] if isinstance(value, (list, tuple)) else [float(value)] * 3


def _side(size: Any) -> int | None:
    """The side of a square image for any form of size; for a size that is not square, its height."""
    if isinstance(size, Mapping):
        size = next((size[key] for key in ("height", "shortest_edge", "longest_edge") if size.get(key)), None)
    elif isinstance(size, (list, tuple)):
        size = size[0]
    return None if size is None else int(size)
