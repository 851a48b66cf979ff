"""Every setting of every command: frozen dataclasses, one field a setting, its help under the field."""

from wsl.config.compare import CompareConfig
from wsl.config.demo import DemoConfig
from wsl.config.doctor import DoctorConfig
from wsl.config.evaluate import EvaluateConfig
from wsl.config.export import ExportConfig, ExportFormat
from wsl.config.labelling import LabellingConfig
from wsl.config.parts import DecodeConfig, DecoderConfig, DetectConfig, DetectorConfig, ProbeConfig
from wsl.config.raster import RasterConfig
from wsl.config.serial import from_json, to_json
from wsl.config.shards import Engine, ShardConfig
from wsl.config.shared import (
    BoxConfig,
    BoxRule,
    BoxScore,
    CamConfig,
    DataConfig,
    DataFormat,
    PickConfig,
    Precision,
    Preprocessing,
    Protocol,
    Refine,
    Resize,
    RuntimeConfig,
)
from wsl.config.training import HEADS, ModelConfig, OptimConfig, Padding, TrainConfig
from wsl.config.verbs import LocalizeConfig, VisualizeConfig

__all__ = [
    "HEADS",
    "BoxConfig",
    "BoxRule",
    "BoxScore",
    "CamConfig",
    "CompareConfig",
    "DataConfig",
    "DataFormat",
    "DecodeConfig",
    "DecoderConfig",
    "DemoConfig",
    "DetectConfig",
    "DetectorConfig",
    "DoctorConfig",
    "Engine",
    "EvaluateConfig",
    "ExportConfig",
    "ExportFormat",
    "LabellingConfig",
    "LocalizeConfig",
    "ModelConfig",
    "OptimConfig",
    "Padding",
    "PickConfig",
    "Precision",
    "Preprocessing",
    "ProbeConfig",
    "Protocol",
    "RasterConfig",
    "Refine",
    "Resize",
    "RuntimeConfig",
    "ShardConfig",
    "TrainConfig",
    "VisualizeConfig",
    "from_json",
    "to_json",
]
