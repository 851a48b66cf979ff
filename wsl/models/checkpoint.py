"""Models as files: one safetensors file whose metadata describes how to build the model."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as deserialize
from safetensors.torch import save as serialize
from torch import nn

from heads import MapClassifier, TokenClassifier
from wsl import config
from wsl.cam.methods import AUTO, IN_GRAPH
from wsl.checkpoints import (
    HF,
    METADATA_KEY,
    ONNX,
    Recipe,
    check_weights,
    checkpoint_file,
    holds_tensors_alone,
    no_model,
    read_description,
    read_recipe,
)
from wsl.config import ModelConfig, Preprocessing
from wsl.documents import located, reading
from wsl.errors import UserError
from wsl.files import replacing
from wsl.hub import hub_address
from wsl.models.backbone import list_backbones
from wsl.models.cam_localizer import CamLocalizer
from wsl.models.classifiers import TINY
from wsl.models.localizer import Localizer
from wsl.models.onnx import OnnxLocalizer
from wsl.models.own_code import build_own, described
from wsl.models.protocol import Model
from wsl.models.state_dicts import load_strictly
from wsl.models.timm_models import TIMM, names_place, refuse_place
from wsl.models.weights import read_state_dict, write_tensors

log = logging.getLogger("wsl")


def save(model: Localizer, path: Path) -> None:
    """Write the model to one file, replacing an old one in a single step; `Localizer.save` is its short form.

    Raises:
        UserError: the backbone is a module without a name to rebuild it from, or its name is a download location.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Localizer("tinynet", 2, weights="none"), Path(folder) / "model.safetensors")
    ...     load(folder).classes
    ('class 0', 'class 1')
    """
    if not model.recipe.backbone:
        raise UserError("this model's backbone has no name: expected one built from a torchvision or timm name")
    refuse_place(model.recipe.backbone)
    state = _state(model)
    with replacing(path) as temporary:
        write_tensors(temporary, state, {METADATA_KEY: config.to_json(model.recipe)})


def _state(model: Localizer) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def load(path: str | Path) -> Localizer:
    """A model from a run folder, its ``model.safetensors``, or the Hugging Face hub, in evaluation mode on the CPU.

    An address of the hub is ``hf://user/model`` or ``hf://user/model@revision``; if the hub cannot be reached, earlier
    downloads are read from the hub client's cache.

    Raises:
        UserError: there is no such file, it was not written by `save`, or its tensors do not fit.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UserError(f"path is a {type(path).__name__}, expected the path of a run, as text or a Path")
    if holds_tensors_alone(path) or (_is_classifier(str(path)) and not Path(path).exists()):
        raise UserError(f"{path} is a classifier and not a run: wsl.Localizer.from_classifier({str(path)!r}) opens it")
    recipe, file = read_recipe(path), checkpoint_file(path)
    with located(file), reading(file, "a checkpoint of wsl-train"):
        model = Localizer.from_recipe(recipe)
    load_strictly(model, read_state_dict(file), file, f"{recipe.backbone} with {recipe.pooling}")
    return model.eval()


@dataclass(frozen=True, slots=True)
class Packed:
    """A model to send to another process: how to build it and its weights, or the module itself."""

    description: str = ""
    weights: bytes = b""
    module: Any = None


def pack(model: Model) -> Packed:
    """A model as plain bytes if it can be rebuilt from a name (a run, a classifier's name, an ONNX file).

    >>> unpack(pack(Localizer("tinynet", 2, weights="none"))).classes
    ('class 0', 'class 1')
    """
    if isinstance(model, OnnxLocalizer):
        return Packed(weights=model.file)
    if isinstance(model, Localizer) and model.recipe.backbone and not names_place(model.recipe.backbone):
        return Packed(config.to_json(model.recipe), serialize(_state(model)))
    return Packed(module=model)


def unpack(packed: Packed) -> Model:
    """The model that was passed to `pack`, in evaluation mode on the CPU."""
    if packed.module is not None:
        model: Model = packed.module
        return model
    if not packed.description:
        return OnnxLocalizer(packed.weights)
    localizer = Localizer.from_recipe(config.from_json(packed.description, Recipe))
    localizer.load_state_dict(deserialize(packed.weights))
    return localizer.eval()


def create(
    settings: ModelConfig, classes: Sequence[str], preprocessing: Preprocessing, *, multi_label: bool = True
) -> Localizer:
    """The model that the settings of ``wsl-train`` describe, before it is trained.

    If ``settings.weights`` names another run, the backbone starts from its weights. So does the head, if it has the
    same classes, neck and maps per class, and a pooling of the same kind of maps or the same encoder.

    Raises:
        UserError: a name is unknown or a download location, or the weights are those of another backbone.
    """
    refuse_place(settings.backbone)  # now rather than when the trained model is saved
    start = run_file(settings.weights)
    model = Localizer(
        settings.backbone,
        pooling=settings.pooling,
        head=settings.head,
        neck=settings.neck,
        maps_per_class=settings.maps_per_class,
        weights=settings.weights if start is None else "none",
        output_stride=settings.output_stride,
        padding=settings.padding,
        downsampling=settings.downsampling,
        classes=classes,
        preprocessing=preprocessing,
        multi_label=multi_label,
    )
    if start is not None:
        before = load(start)
        if before.recipe.backbone != settings.backbone:
            raise UserError(
                f"{start} has the backbone {before.recipe.backbone}, and --backbone is {settings.backbone}: expected "
                "the same, or the run as --from (from_ in Python) in place of --weights"
            )
        # Replaced poolings may have parameters, which poolings of another kind lack.
        alike = before.recipe.downsampling == settings.downsampling
        model.backbone.load_state_dict(before.backbone.state_dict(), strict=alike)
        _continue_head(model, before)
    return model


def _continue_head(model: Localizer, before: Localizer) -> None:
    """Copy the head's weights from another run if they fit: the same kind of class maps, or the same encoder."""
    if before.classes != model.classes:
        return
    if isinstance(model.head, MapClassifier) and isinstance(before.head, MapClassifier):
        same = before.recipe.maps_per_class == model.recipe.maps_per_class
        same = same and repr(before.head.neck) == repr(model.head.neck)
        if same and _alike(before.head.conv, model.head.conv):
            model.head.conv.load_state_dict(before.head.conv.state_dict())
            _continue_calibration(model.head, before.head)
    elif repr(model.head) == repr(before.head):
        model.head.load_state_dict(before.head.state_dict())


def _continue_calibration(head: MapClassifier, before: MapClassifier) -> None:
    new, old = (one.calibration if isinstance(one, TokenClassifier) else None for one in (head, before))
    if new is not None and old is not None:
        new.load_state_dict(old.state_dict())


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether the two convolutions have weights of the same kind and shape."""
    shapes = ({name: tensor.shape for name, tensor in module.state_dict().items()} for module in (one, other))
    return type(one) is type(other) and next(shapes) == next(shapes)


def run_file(weights: str) -> Path | None:
    """The checkpoint that `weights` names, if it is the one of a run."""
    file = checkpoint_file(weights)
    return file if file.is_file() and file.suffix == ".safetensors" and read_description(file) is not None else None


def open_model(
    weights: str,
    local_weights: Path | None = None,
    *,
    method: str = AUTO,
    layers: Sequence[str] = (),
    model: str | None = None,
) -> Localizer | OnnxLocalizer | CamLocalizer:
    """The model that ``--weights`` names: a run folder, a checkpoint, an ONNX model, or a classifier by name.

    A file of tensors alone is matched with the classifier of torchvision or timm whose parameters it holds.

    `local_weights` is a file for a classifier's name, or a folder for ``hf/NAME``. With `model`, a function in the
    user's code that builds a classifier (``package.module:build``), `weights` is the file of its tensors; the code is
    imported. `method` is a CAM method to use instead of the model's own class maps, and `layers` the layers it reads.

    Raises:
        UserError: ``weights`` is none of these, or the model lacks what the method reads.
    """
    if model is not None:
        check_weights(weights, local_weights, model)
        net = build_own(model, Path(weights))
        classes, preprocessing = described(net, model)
        return Localizer.from_classifier(
            net, method=method, layers=layers, classes=classes, preprocessing=preprocessing
        ).eval()
    named = weights in list_backbones() or weights.startswith(HF)
    of_hub = hub_address(weights) is not None
    if of_hub or (Path(weights).exists() and not (named and local_weights is not None)):
        if weights.endswith(ONNX) and not of_hub:
            if method not in (AUTO, IN_GRAPH) or layers:
                raise UserError(f"{weights} has its class maps alone, and CAM methods read layers: take the run itself")
            return OnnxLocalizer(Path(weights))
        if holds_tensors_alone(weights):
            return Localizer.from_classifier(weights, method=method, layers=layers).eval()
        run = load(weights)
        return run if method in (AUTO, IN_GRAPH) and not layers else CamLocalizer.of(run, method=method, layers=layers)
    require_classifier(weights)
    opened = Localizer.from_classifier(
        weights, str(local_weights) if local_weights else "DEFAULT", method=method, layers=layers
    )
    return opened.eval()


def require_classifier(name: str) -> None:
    """Refuse a name that is not that of a classifier of torchvision, timm or transformers.

    Raises:
        UserError: it is not; the message suggests the nearest one.

    >>> require_classifier("timm/resnet18")
    """
    if not _is_classifier(name):
        raise no_model(name, [one for one in list_backbones() if one != TINY])


def _is_classifier(name: str) -> bool:
    return (name in list_backbones() and name != TINY) or name.startswith((TIMM, HF))
