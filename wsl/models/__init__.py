"""Backbones, the localizer, and its checkpoints."""

from wsl.models.backbone import Backbone, create_backbone, list_backbones
from wsl.models.cam_localizer import CamLocalizer, made_by
from wsl.models.checkpoint import create, load, open_model, pack, require_classifier, save, unpack
from wsl.models.classifiers import create_classifier
from wsl.models.decoder import MapDecoder
from wsl.models.detector import BoxDetector, Dense
from wsl.models.device import autocast, choose_device, choose_dtype, repeatable
from wsl.models.export import export_model
from wsl.models.gradient_head import GradientHead
from wsl.models.localizer import Localizer
from wsl.models.onnx import OnnxLocalizer
from wsl.models.probe import LinearProbe, pooled_features
from wsl.models.protocol import Detected, Features, InferenceModel, LazyOutput, Model, check_interface, resolve_refine

__all__ = [
    "Backbone",
    "BoxDetector",
    "CamLocalizer",
    "Dense",
    "Detected",
    "Features",
    "GradientHead",
    "InferenceModel",
    "LazyOutput",
    "LinearProbe",
    "Localizer",
    "MapDecoder",
    "Model",
    "OnnxLocalizer",
    "autocast",
    "check_interface",
    "choose_device",
    "choose_dtype",
    "create",
    "create_backbone",
    "create_classifier",
    "export_model",
    "list_backbones",
    "load",
    "made_by",
    "open_model",
    "pack",
    "pooled_features",
    "repeatable",
    "require_classifier",
    "resolve_refine",
    "save",
    "unpack",
]
