"""From an image to a `Localization`, in memory: the one way that everything takes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from wsl.inference.drawing import boxes_of_class, boxes_of_maps, redrawn

if TYPE_CHECKING:
    from wsl.inference.inputs import Input, Source
    from wsl.inference.predictor import Predictor
    from wsl.inference.short_form import localize
    from wsl.inference.stream import Errors, Stream

# These load torch, which takes seconds; boxes of stored maps are drawn without it.
_LAZY = {
    "Errors": "wsl.inference.stream",
    "Input": "wsl.inference.inputs",
    "Predictor": "wsl.inference.predictor",
    "Source": "wsl.inference.inputs",
    "Stream": "wsl.inference.stream",
    "localize": "wsl.inference.short_form",
}

__all__ = ["Errors", "Input", "Predictor", "Source", "Stream", "boxes_of_class", "boxes_of_maps", "localize", "redrawn"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'wsl.inference' has no attribute {name!r}")
