"""Versions, the device, and the names of everything that can be chosen by name; how the maps of a model are made."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

import heads
from wsl.cam import list_methods
from wsl.config import HEADS, CamConfig, ExportFormat
from wsl.models import (
    CamLocalizer,
    Localizer,
    OnnxLocalizer,
    choose_device,
    choose_dtype,
    create_classifier,
    list_backbones,
    open_model,
)

_LIBRARIES = ("wsl-toolkit", "torch", "torchvision", "numpy", "opencv-python", "pycocotools", "timm", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """Versions by library, None for an extra that is not installed; the device; the available names by kind."""

    versions: Mapping[str, str | None]
    device: str
    precision: str
    poolings: tuple[str, ...]
    encoders: tuple[str, ...]
    necks: tuple[str, ...]
    downsamplings: tuple[str, ...]
    heads: tuple[str, ...]
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
            "heads": ", ".join(self.heads),
            "CAM methods": ", ".join(self.cam_methods),
            "backbones": f"{len(self.backbones)} from {self.backbones[0]} to {self.backbones[-1]}, all in --json, and "
            "with their extras any timm/NAME and hf/NAME",
            "export formats": ", ".join(self.formats),
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())


def info() -> Info:
    """Collect versions for a bug report, and the names that flags such as ``--pooling`` and ``--format`` accept.

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
        heads=HEADS,
        cam_methods=tuple(list_methods()),
        backbones=tuple(list_backbones()),
        formats=get_args(ExportFormat),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Properties of a model: how its maps are made and why, from which layers, and their size and position.

    ``map_size`` is (height, width) at the model's own ``image_size``. ``grid`` is the distance between the centres of
    its cells and the centre of the first, in pixels of the network's input, or None if the cells divide the input
    equally. ``posteriors`` is the number of posteriors that the model's linear probe reads, None without a probe;
    ``decoder`` and ``detector`` say whether the model has a map decoder and a box detector.
    """

    name: str
    classes: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    method: str
    why: str
    layers: tuple[str, ...]
    map_size: tuple[int, int]
    grid: tuple[float, float] | None
    levels: int
    posteriors: int | None = None
    decoder: bool = False
    detector: bool = False

    def __str__(self) -> str:
        height, width = self.map_size
        places = "equal parts of the image" if self.grid is None else f"at {self.grid[1]:g} + {self.grid[0]:g} i pixels"
        rows = {
            "model": f"{self.name}, {self.classes} classes",
            "input": f"{self.image_size} px, mean {self.mean}, std {self.std}",
            "maps": f"{self.method}: {self.why}",
            "layers": f"{self.layers[0]} to {self.layers[-1]}" if len(self.layers) > 3 else ", ".join(self.layers),
            "map": f"{height} x {width} cells, {places}",
            **self._scores(),
            "refinement": self._refinement(),
        }
        return "\n".join(f"{name:<10}  {text}" for name, text in rows.items())

    def _scores(self) -> dict[str, str]:
        if self.posteriors is None:
            return {}
        more = f" and {self.posteriors} posteriors of the backbone's classifier" if self.posteriors else ""
        return {"scores": f"of a linear probe of pooled features{more}"}

    def _refinement(self) -> str:
        if self.decoder:
            fused = "; boxes are fused with those of its detector" if self.detector else ""
            return f"decoder (maps of the model's map decoder){fused}"
        return f"affinity ({self.levels} levels of features)" if self.levels >= 2 else "none by default"


def model_info(weights: str, local_weights: Path | None = None, cam: CamConfig | None = None) -> ModelInfo:
    """Describe a model and how its maps are made.

    The name of a classifier suffices; without `local_weights` its weights are random.

    Raises:
        UserError: there is no such model, or it lacks what the CAM method reads.

    >>> model_info("resnet18").method
    'cam'
    """
    model = _opened(weights, local_weights, cam or CamConfig())
    side = model.preprocessing.image_size
    output = model.for_inference(torch.device("cpu"), torch.float32)(torch.zeros(1, 3, side, side))
    method, why, layers = _made(model)
    height, width = output.maps_of(torch.zeros(1, 1, dtype=torch.long)).shape[-2:]
    return ModelInfo(
        name=weights,
        classes=len(model.classes),
        image_size=side,
        mean=model.preprocessing.mean,
        std=model.preprocessing.std,
        method=method,
        why=why,
        layers=layers,
        map_size=(height, width),
        grid=output.grid,
        levels=model.levels,
        posteriors=_posteriors(model),
        decoder=model.decodes,
        detector=model.detects,
    )


def _made(model: Localizer | OnnxLocalizer | CamLocalizer) -> tuple[str, str, tuple[str, ...]]:
    """The method by which maps are made, why it was chosen, and the layers it reads."""
    if isinstance(model, CamLocalizer):
        return model.method, model.why, model.sources
    head = model.recipe.head if isinstance(model, Localizer) else None
    if isinstance(model, Localizer) and isinstance(model.head, heads.AdversarialClassifier):
        return str(head), "the higher of both classifiers' maps", ("the last map",)
    if head is not None:
        return head, "class maps times the attention of the class token", ("the last tokens", "attention of all blocks")
    why = "the scores are pooled from class maps" if _posteriors(model) is None else "the head's class maps"
    return "cam", why, ("the last map",)


def _posteriors(model: Localizer | OnnxLocalizer | CamLocalizer) -> int | None:
    if isinstance(model, CamLocalizer):
        model = model.net
    if isinstance(model, Localizer):
        return model.recipe.probe
    return model.probe if isinstance(model, OnnxLocalizer) else None


def _opened(weights: str, local_weights: Path | None, cam: CamConfig) -> Localizer | OnnxLocalizer | CamLocalizer:
    named = weights in list_backbones() or weights.startswith("timm/")
    if not named or local_weights is not None or Path(weights).exists():
        return open_model(weights, local_weights, method=cam.cam, layers=cam.layers, model=cam.model)
    built = create_classifier(weights, "none")
    with torch.no_grad():
        for parameter in built.net.parameters():
            if not parameter.any():  # weights initialised to zero would hide what the scores depend on
                torch.nn.init.normal_(parameter, std=0.02)
    return Localizer.from_classifier(
        built.net, method=cam.cam, layers=cam.layers, classes=built.classes, preprocessing=built.preprocessing
    ).eval()


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
