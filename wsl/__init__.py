"""Weakly-supervised localization: from image-level labels to class activation maps and boxes.

>>> import wsl
>>> wsl.Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"]).area.tolist()
[100.0]
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use, so that `--help` of a command need not wait for torch.
_WHERE = {
    "Boxes": "wsl.boxes",
    "EvaluationReport": "wsl.results",
    "Localization": "wsl.results",
    "Metric": "wsl.results",
    "Sample": "wsl.samples",
    "SampleSet": "wsl.samples",
    "UserError": "wsl.errors",
    "RunError": "wsl.errors",
    "Localizer": "wsl.models",
    "load": "wsl.models",
    "localize": "wsl.predict",
    "class_maps": "wsl.training.sweep",
    "sweep_poolings": "wsl.training.sweep",
    "train": "wsl.verbs.train",
    "evaluate": "wsl.verbs.evaluate",
    "visualize": "wsl.verbs.visualize",
    "export": "wsl.verbs.export",
}
_ROOMS = ("data", "draw", "formats", "maps", "metrics", "models")

__all__ = sorted([*_WHERE, *_ROOMS])


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"wsl.{name}")
    raise AttributeError(f"module 'wsl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
