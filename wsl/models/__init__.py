"""Backbones, the localizer, and its checkpoints."""

from wsl.models.backbone import Backbone, create_backbone, create_classifier, list_backbones
from wsl.models.checkpoint import create, load, open_model, pack, save, unpack
from wsl.models.device import autocast, choose_device, choose_dtype
from wsl.models.export import export_model
from wsl.models.gradient_head import GradientHead
from wsl.models.localizer import Localizer, Recipe
from wsl.models.onnx import OnnxLocalizer
from wsl.models.protocol import InferenceModel, LazyOutput, Model, resolve_refine
from wsl.models.selected_boxes import SelectedBoxes, load_selected, model_digest, run_folder, save_selected

__all__ = [
    "Backbone",
    "GradientHead",
    "InferenceModel",
    "LazyOutput",
    "Localizer",
    "Model",
    "OnnxLocalizer",
    "Recipe",
    "SelectedBoxes",
    "autocast",
    "choose_device",
    "choose_dtype",
    "create",
    "create_backbone",
    "create_classifier",
    "export_model",
    "list_backbones",
    "load",
    "load_selected",
    "model_digest",
    "open_model",
    "pack",
    "resolve_refine",
    "run_folder",
    "save",
    "save_selected",
    "unpack",
]
