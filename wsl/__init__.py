"""Weakly-supervised localization: from image-level labels to class activation maps and boxes.

These names are what most scripts need. The commands are functions here (`train`, `evaluate`, `export`, …), and their
settings keywords, or an object such as `wsl.config.TrainConfig`. Everything else is in a subpackage: `wsl.metrics`,
`wsl.models`, `wsl.training.sweep`.

>>> import wsl
>>> wsl.Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"]).area.tolist()
[100.0]
"""

import importlib
from typing import TYPE_CHECKING

from wsl.version import __version__ as __version__

if TYPE_CHECKING:
    from wsl import config, data, draw, formats, maps, metrics, models
    from wsl.boxes import Boxes
    from wsl.errors import BadImageError, RunError, UserError
    from wsl.inference import Predictor, Source, localize
    from wsl.models import Localizer, load
    from wsl.models.cam import cam
    from wsl.results import Localization
    from wsl.verbs.compare import compare
    from wsl.verbs.doctor import doctor
    from wsl.verbs.evaluate import evaluate
    from wsl.verbs.export import export
    from wsl.verbs.finished import decode
    from wsl.verbs.train import train
    from wsl.verbs.visualize import visualize

# Loaded on first use, so that `--help` of a command does not wait for torch.
_WHERE = {
    "BadImageError": "wsl.errors",
    "Boxes": "wsl.boxes",
    "Localization": "wsl.results",
    "Localizer": "wsl.models",
    "Predictor": "wsl.inference",
    "RunError": "wsl.errors",
    "Source": "wsl.inference",
    "UserError": "wsl.errors",
    "compare": "wsl.verbs.compare",
    "decode": "wsl.verbs.finished",
    "doctor": "wsl.verbs.doctor",
    "evaluate": "wsl.verbs.evaluate",
    "export": "wsl.verbs.export",
    "load": "wsl.models",
    "localize": "wsl.inference",
    "train": "wsl.verbs.train",
    "visualize": "wsl.verbs.visualize",
}
_ROOMS = ("cam", "config", "data", "draw", "formats", "maps", "metrics", "models")

__all__ = [
    "BadImageError",
    "Boxes",
    "Localization",
    "Localizer",
    "Predictor",
    "RunError",
    "Source",
    "UserError",
    "cam",
    "compare",
    "config",
    "data",
    "decode",
    "doctor",
    "draw",
    "evaluate",
    "export",
    "formats",
    "load",
    "localize",
    "maps",
    "metrics",
    "models",
    "train",
    "visualize",
]


# A type checker uses the imports above; with a __getattr__ it would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _WHERE:
            return getattr(importlib.import_module(_WHERE[name]), name)
        if name in _ROOMS:
            return importlib.import_module(f"wsl.{name}")
        raise AttributeError(f"module 'wsl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
