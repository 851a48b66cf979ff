"""Backbones, the localizer, and its checkpoints."""

from wsl.models.backbone import Backbone, create_backbone, create_classifier, list_backbones
from wsl.models.checkpoint import create, load, open_model, save
from wsl.models.device import autocast, choose_device, choose_dtype
from wsl.models.export import export_model
from wsl.models.localizer import Localizer, Recipe
from wsl.models.onnx import OnnxLocalizer

__all__ = [
    "Backbone",
    "Localizer",
    "OnnxLocalizer",
    "Recipe",
    "autocast",
    "choose_device",
    "choose_dtype",
    "create",
    "create_backbone",
    "create_classifier",
    "export_model",
    "list_backbones",
    "load",
    "open_model",
    "save",
]
