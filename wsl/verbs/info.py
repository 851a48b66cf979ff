"""What is here: versions, the device, and everything that is called by name."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import heads
from wsl.cam import Method
from wsl.config import ExportFormat
from wsl.models import choose_device, choose_dtype, list_backbones

_LIBRARIES = ("wsl-toolkit", "torch", "torchvision", "numpy", "opencv-python", "pycocotools", "timm", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Versions by library, None for an extra that is not installed; names by kind."""

    versions: Mapping[str, str | None]
    device: str
    precision: str
    poolings: tuple[str, ...]
    encoders: tuple[str, ...]
    necks: tuple[str, ...]
    downsamplings: tuple[str, ...]
    cam_methods: tuple[str, ...]
    backbones: tuple[str, ...]
    formats: tuple[str, ...]

    def __str__(self) -> str:
        rows = {
            **{name: version or "not installed" for name, version in self.versions.items()},
            "device": f"{self.device}, {self.precision}",
            "poolings": ", ".join(self.poolings),
            "encoders": ", ".join(self.encoders),
            "necks": ", ".join(self.necks),
            "downsamplings": ", ".join(self.downsamplings),
            "CAM methods": ", ".join(self.cam_methods),
            "backbones": f"{len(self.backbones)} from {self.backbones[0]} to {self.backbones[-1]}, all in --json, and "
            "with the timm extra any timm/NAME",
            "export formats": ", ".join(self.formats),
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def info() -> Info:
    """What a bug report needs, and what the flags take that name things (``--pooling``, ``--backbone``, ``--format``…).

    >>> "gap" in info().poolings
    True
    """
    device = choose_device("auto")
    return Info(
        versions={"python": platform.python_version(), **{name: _version(name) for name in _LIBRARIES}},
        device=str(device),
        precision=str(choose_dtype("auto", device)).removeprefix("torch."),
        poolings=tuple(heads.list_poolings()),
        encoders=tuple(heads.list_encoders()),
        necks=tuple(heads.list_necks()),
        downsamplings=tuple(heads.list_downsamplings()),
        cam_methods=("class maps", *get_args(Method)),
        backbones=tuple(list_backbones()),
        formats=get_args(ExportFormat),
    )


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
