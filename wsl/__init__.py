"""Weakly-supervised localization: from image-level labels to class activation maps and boxes.

>>> import wsl
>>> wsl.Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"]).area.tolist()
[100.0]
"""

import importlib
from typing import TYPE_CHECKING

from wsl.version import __version__ as __version__

if TYPE_CHECKING:
    from wsl import config, data, draw, formats, images, inference, maps, metrics, models
    from wsl.boxes import Boxes
    from wsl.comparison import Comparison
    from wsl.config import (
        CompareConfig,
        DecodeConfig,
        DetectConfig,
        EvaluateConfig,
        ExportConfig,
        LocalizeConfig,
        ShardConfig,
        TrainConfig,
        VisualizeConfig,
    )
    from wsl.errors import BadImageError, RunError, UserError
    from wsl.inference import Predictor, Source, localize
    from wsl.models import CamLocalizer, Localizer, load
    from wsl.models.cam import cam
    from wsl.results import EvaluationReport, Localization, Metric
    from wsl.samples import Sample, SampleSet
    from wsl.training.sweep import class_maps, sweep_poolings
    from wsl.verbs.compare import compare
    from wsl.verbs.evaluate import evaluate
    from wsl.verbs.export import export
    from wsl.verbs.finished import decode, detect
    from wsl.verbs.localize import run_localize
    from wsl.verbs.localize_shards import run_shards
    from wsl.verbs.train import train
    from wsl.verbs.visualize import visualize

# Loaded on first use, so that `--help` of a command need not wait for torch.
_WHERE = {
    "BadImageError": "wsl.errors",
    "Boxes": "wsl.boxes",
    "CamLocalizer": "wsl.models",
    "CompareConfig": "wsl.config",
    "Comparison": "wsl.comparison",
    "DecodeConfig": "wsl.config",
    "DetectConfig": "wsl.config",
    "EvaluateConfig": "wsl.config",
    "EvaluationReport": "wsl.results",
    "ExportConfig": "wsl.config",
    "Localization": "wsl.results",
    "LocalizeConfig": "wsl.config",
    "Localizer": "wsl.models",
    "Metric": "wsl.results",
    "Predictor": "wsl.inference",
    "RunError": "wsl.errors",
    "Sample": "wsl.samples",
    "SampleSet": "wsl.samples",
    "ShardConfig": "wsl.config",
    "Source": "wsl.inference",
    "TrainConfig": "wsl.config",
    "UserError": "wsl.errors",
    "VisualizeConfig": "wsl.config",
    "class_maps": "wsl.training.sweep",
    "compare": "wsl.verbs.compare",
    "decode": "wsl.verbs.finished",
    "detect": "wsl.verbs.finished",
    "evaluate": "wsl.verbs.evaluate",
    "export": "wsl.verbs.export",
    "load": "wsl.models",
    "localize": "wsl.inference",
    "run_localize": "wsl.verbs.localize",
    "run_shards": "wsl.verbs.localize_shards",
    "sweep_poolings": "wsl.training.sweep",
    "train": "wsl.verbs.train",
    "visualize": "wsl.verbs.visualize",
}
_ROOMS = ("cam", "config", "data", "draw", "formats", "images", "inference", "maps", "metrics", "models")

__all__ = [
    "BadImageError",
    "Boxes",
    "CamLocalizer",
    "CompareConfig",
    "Comparison",
    "DecodeConfig",
    "DetectConfig",
    "EvaluateConfig",
    "EvaluationReport",
    "ExportConfig",
    "Localization",
    "LocalizeConfig",
    "Localizer",
    "Metric",
    "Predictor",
    "RunError",
    "Sample",
    "SampleSet",
    "ShardConfig",
    "Source",
    "TrainConfig",
    "UserError",
    "VisualizeConfig",
    "cam",
    "class_maps",
    "compare",
    "config",
    "data",
    "decode",
    "detect",
    "draw",
    "evaluate",
    "export",
    "formats",
    "images",
    "inference",
    "load",
    "localize",
    "maps",
    "metrics",
    "models",
    "run_localize",
    "run_shards",
    "sweep_poolings",
    "train",
    "visualize",
]


# A type checker sees the imports above; a __getattr__ would tell it that any name exists.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _WHERE:
            return getattr(importlib.import_module(_WHERE[name]), name)
        if name in _ROOMS:
            return importlib.import_module(f"wsl.{name}")
        raise AttributeError(f"module 'wsl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
