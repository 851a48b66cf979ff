"""From an image to a `Localization`, in memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsl.inference.drawing import boxes_of_class, boxes_of_maps, redrawn

if TYPE_CHECKING:
    from wsl.inference.inputs import Input, Source
    from wsl.inference.predictor import Predictor
    from wsl.inference.short_form import localize
    from wsl.inference.stream import Errors, Stream
    from wsl.inference.tiled import TiledPredictor

# These load torch, which takes seconds and is not needed to draw boxes of stored maps.
_LAZY = {
    "Errors": "wsl.inference.stream",
    "Input": "wsl.inference.inputs",
    "Predictor": "wsl.inference.predictor",
    "Source": "wsl.inference.inputs",
    "Stream": "wsl.inference.stream",
    "TiledPredictor": "wsl.inference.tiled",
    "localize": "wsl.inference.short_form",
}

__all__ = [
    "Errors",
    "Input",
    "Predictor",
    "Source",
    "Stream",
    "TiledPredictor",
    "boxes_of_class",
    "boxes_of_maps",
    "localize",
    "redrawn",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'wsl.inference' has no attribute {name!r}")
