"""Backbones by name: images to a feature map, from torchvision, timm or our own small network."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import math
import pickle
import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torchvision import models as torchvision_models

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models.dilation import dilate
from wsl.models.graph import conv_classifier, cut, find_chain
from wsl.models.grid import GridTracer
from wsl.models.tiny import TinyNet
from wsl.models.weights import (
    StateDict,
    fetch,
    first_line,
    load_strictly,
    not_fetched,
    read_raw,
    read_state_dict,
    tensors_only,
)

TIMM = "timm/"
TINY = "tinynet"
# Every classifier takes this size, also those with windows of a fixed one.
_PROBE = 224


class Backbone(nn.Module):
    """A network that gives feature maps, and what a head needs to know of it.

    Shape:
        (N, 3, H, W) to (N, ``out_channels``, about H / ``stride``, about W / ``stride``).

    >>> create_backbone("tinynet", weights="none").out_channels
    128
    """

    def __init__(self, net: nn.Module, name: str, dilated: Collection[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.name = name
        tracer = GridTracer(_PROBE, dilated)
        # A traced graph prints itself when it fails.
        with torch.no_grad(), contextlib.redirect_stderr(None), tracer.watching(net):
            features = self.eval()(torch.zeros(1, 3, _PROBE, _PROBE))
        self.train(net.training)
        self.out_channels = int(features.shape[1])
        self.stride = _stride(features.shape[-1])
        self.grid = tracer.grid(features)
        self.taps = tracer.taps()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps of a batch of normalised images."""
        features: torch.Tensor = self.net(images)
        return features


def _stride(side: int) -> int:
    """Image pixels per map cell; without padding a map is somewhat smaller than its stride says."""
    return _PROBE // side if _PROBE % side == 0 else 2 ** round(math.log2(_PROBE / side))


@dataclass(frozen=True, slots=True)
class Classifier:
    """A whole classifier as its library builds it, with what its weights say of images and classes."""

    net: nn.Module
    name: str
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()


def list_backbones() -> list[str]:
    """Names that `create_backbone` takes; with the timm extra also ``timm/`` and any name of timm.

    >>> "resnet50" in list_backbones()
    True
    """
    return [TINY, *torchvision_models.list_models(module=torchvision_models)]


def names_place(name: str) -> bool:
    """Whether timm would look for the model at a place (a repository of the hub, a folder), not by a name it knows.

    >>> names_place("timm/hf-hub:someone/net"), names_place("timm/resnet50.a1_in1k")
    (True, False)
    """
    return name.startswith(TIMM) and re.search(r"[:/\\]", name.removeprefix(TIMM)) is not None


def refuse_place(name: str) -> None:
    """Check that a backbone is named and not located: opening a checkpoint must not download what it says.

    Raises:
        UserError: a place.

    >>> refuse_place("timm/local-dir:net")
    Traceback (most recent call last):
    wsl.errors.UserError: the backbone 'timm/local-dir:net' is a place to load from, and a checkpoint may not name ...
    """
    if names_place(name):
        raise UserError(
            f"the backbone {name!r} is a place to load from, and a checkpoint may not name one: expected a name that "
            "timm knows, such as timm/resnet50.a1_in1k; give other weights of it as a local file"
        )


def create_backbone(name: str, weights: str = "DEFAULT", output_stride: int | None = None) -> Backbone:
    """A backbone by name: a torchvision classifier up to its pooling, ``timm/NAME``, or ``tinynet``.

    `weights` is ``DEFAULT`` or a name that the library knows (downloaded by it on first use), the path of a local
    file of the whole classifier, or ``none``. `output_stride` dilates the last stages for finer maps.

    Raises:
        UserError: unknown name or weights, a network without a feature map, or one that cannot be dilated.

    >>> create_backbone("resnet18", weights="none", output_stride=16).stride
    16
    """
    if name == TINY:
        if weights not in ("none", "DEFAULT") or output_stride not in (None, 8):
            raise UserError("tinynet has no pretrained weights and output stride 8: expected weights none")
        return Backbone(TinyNet(), name)
    if name.startswith(TIMM):
        return Backbone(_TimmFeatures(name.removeprefix(TIMM), weights, output_stride), name)
    net = create_classifier(name, weights).net
    chain = find_chain(net, name)
    # SqueezeNet's last map already holds its own classes; a new head wants the features below them.
    classifier = None if chain.significant() else conv_classifier(chain)
    features = chain.features if classifier is None else classifier.features
    return cut_backbone(net, features, name, output_stride)


def cut_backbone(net: nn.Module, features: fx.Node, name: str, output_stride: int | None = None) -> Backbone:
    """The part of a classifier up to a node of its graph, dilated in place when asked."""
    body = cut(net, features)
    if output_stride is None:
        return Backbone(body, name)
    dilated = dilate(body, output_stride, name)
    try:
        backbone = Backbone(body, name, dilated)
    except RuntimeError as error:  # a stride outside the layers, in the code itself
        raise UserError(f"{name} cannot be dilated to output stride {output_stride}: take another backbone") from error
    if backbone.stride != output_stride:
        raise UserError(f"output stride {output_stride} of {name}: its own is {backbone.stride} and cannot be changed")
    return backbone


def create_classifier(name: str, weights: str = "DEFAULT") -> Classifier:
    """A classifier of torchvision (or ``timm/NAME``) by name, with pretrained, local or no weights.

    A local file decides the number of classes itself.

    Raises:
        UserError: unknown name or weights; a download that failed; a file that does not fit.
    """
    if name.startswith(TIMM):
        return _timm_classifier(name, weights)
    known = torchvision_models.list_models(module=torchvision_models)
    if name not in known:
        near = difflib.get_close_matches(name, [TINY, *known], 1)
        hint = f"did you mean {near[0]!r}?" if near else "expected a torchvision name such as resnet50, or timm/NAME"
        raise UserError(f"unknown backbone {name!r}: {hint}")
    kinds = torchvision_models.get_model_weights(name)
    named = weights if weights in kinds.__members__ or weights == "DEFAULT" else None
    entry = kinds["DEFAULT"] if named is None else getattr(kinds, named)
    recipe = entry.transforms()
    preprocessing = Preprocessing(image_size=recipe.crop_size[0], mean=tuple(recipe.mean), std=tuple(recipe.std))
    categories = tuple(entry.meta["categories"])
    builder = torchvision_models.get_model_builder(name)
    if named is not None:
        return Classifier(_pretrained(builder, entry, name), name, preprocessing, categories)
    if weights == "none":
        return Classifier(_untrained(builder), name, preprocessing)
    path = _weights_path(weights, name, ["DEFAULT", *kinds.__members__])
    state = read_state_dict(path)
    count = _count_classes(state, builder, path, name)
    net = _untrained(builder, num_classes=count)
    load_strictly(net, _without_auxiliary(state, net), path, name)
    return Classifier(net, name, preprocessing, categories if count == len(categories) else ())


def _weights_path(weights: str, name: str, names: list[str]) -> Path:
    path = Path(weights)
    if path.exists():
        return path
    raise UserError(f"no weights {weights!r} for {name}: expected a file, none, or one of {', '.join(names)}")


def _untrained(builder: Callable[..., nn.Module], **options: Any) -> nn.Module:
    with warnings.catch_warnings():
        # GoogLeNet and Inception announce a change of their initialisation.
        warnings.simplefilter("ignore", FutureWarning)
        return builder(weights=None, **options)


def _pretrained(builder: Callable[..., nn.Module], entry: Any, name: str) -> nn.Module:
    """What ``builder(weights=entry)`` gives, from a file that is checked and never unpickled.

    The builders know more than a state dict says: options that belong to the weights, and old names of parameters.
    They get an entry like theirs that hands out tensors which are already there.
    """
    file = fetch(entry.url, f"{name}'s weights {entry.name}")
    state = read_raw(file)
    stand_in = object.__new__(type(entry))
    vars(stand_in).update(vars(entry), get_state_dict=lambda **_: state)
    try:
        return builder(weights=stand_in)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit {name}: {str(error).splitlines()[-1].strip()}") from error


def _count_classes(state: StateDict, builder: Callable[..., nn.Module], path: Path, name: str) -> int:
    """Outputs of the classifier's last layer: models list their layers from input to output, files need not."""
    with torch.device("meta"):
        outline = _untrained(builder).state_dict()
    last = [key for key, tensor in outline.items() if tensor.ndim >= 2 and not _is_auxiliary(key)][-1]
    if last not in state:
        raise UserError(f"{path} does not fit {name}: {last} is missing (was it saved from another model?)")
    return int(state[last].shape[0])


def _is_auxiliary(key: str) -> bool:
    return key.lower().startswith("aux")


def _without_auxiliary(state: StateDict, net: nn.Module) -> StateDict:
    """GoogLeNet's and Inception's files may lack the auxiliary classifiers; they serve training only."""
    own = {key: value for key, value in net.state_dict().items() if _is_auxiliary(key)}
    return {**own, **{k: v for k, v in state.items() if not (_is_auxiliary(k) and k not in own)}} if own else state


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UserError("timm backbones need the timm extra: pip install 'wsl-toolkit[timm]'") from error


def _create_timm(name: str, weights: str, **options: Any) -> nn.Module:
    timm = _timm()
    local = None if weights in ("DEFAULT", "none") else _weights_path(weights, f"{TIMM}{name}", ["DEFAULT"])
    pretrained, what = weights == "DEFAULT", f"timm's weights of {name}"
    try:
        overlay = _timm_overlay(timm, name, what) if pretrained else {}
        # From the Hugging Face hub timm takes safetensors where there are any, else pickled files: as tensors only, but
        # not in every release, and unguarded where torch then raises a TypeError.
        with tensors_only():
            net: nn.Module = timm.create_model(name, pretrained=pretrained, **overlay, **options)
    except UserError:
        raise
    except (TypeError, NotImplementedError, AssertionError) as error:
        raise UserError(f"timm/{name} does not take {options}: {first_line(error)}") from error
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        if timm.is_model(name) or names_place(f"{TIMM}{name}"):
            raise not_fetched(what, error) from error
        near = difflib.get_close_matches(name, timm.list_models(), 1)
        raise UserError(f"unknown timm model {name!r}" + (f": did you mean {near[0]!r}?" if near else "")) from None
    if overlay:
        net.pretrained_cfg.pop("state_dict", None)  # type: ignore[union-attr, operator]
    if local is not None:
        state = read_state_dict(local)
        # A backbone has no classifier; the file of a whole model has one.
        if options.get("num_classes") == 0:
            state = {key: value for key, value in state.items() if key in net.state_dict()}
        load_strictly(net, state, local, f"timm/{name}")
    return net


def _timm_overlay(timm: Any, name: str, what: str) -> dict[str, Any]:
    """The tensors of the few models that timm would get through torch.hub, whose cache it unpickles unchecked."""
    if names_place(f"{TIMM}{name}"):
        return {}
    known = timm.models.get_pretrained_cfg(name)
    if known is None or known.hf_hub_id or known.custom_load or not known.url:
        return {}
    return {"pretrained_cfg_overlay": {"state_dict": read_raw(fetch(known.url, what))}}


def _timm_classifier(name: str, weights: str) -> Classifier:
    net = _create_timm(name.removeprefix(TIMM), weights)
    data = importlib.import_module("timm.data").resolve_model_data_config(net)
    preprocessing = Preprocessing(image_size=data["input_size"][-1], mean=tuple(data["mean"]), std=tuple(data["std"]))
    categories: tuple[str, ...] = ()
    if getattr(net, "num_classes", 0) == 1000:
        categories = tuple(torchvision_models.ResNet50_Weights.DEFAULT.meta["categories"])
    return Classifier(net, name, preprocessing, categories)


class _TimmFeatures(nn.Module):
    """timm's ``forward_features`` as (N, C, h, w), whatever layout the model computes in."""

    def __init__(self, name: str, weights: str, output_stride: int | None) -> None:
        super().__init__()
        options: dict[str, Any] = {} if output_stride is None else {"output_stride": output_stride}
        if "vit" in name or "deit" in name or "eva" in name:
            options["dynamic_img_size"] = True
        self.net = _create_timm(name, weights, num_classes=0, **options)
        self.channels = int(self.net.num_features)  # type: ignore[arg-type]
        self.prefix = int(getattr(self.net, "num_prefix_tokens", 0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.net.forward_features(images)  # type: ignore[operator]
        if features.ndim == 3:
            height, width = self.net.patch_embed.patch_size  # type: ignore[union-attr, misc]
            grid = (images.shape[-2] // height, images.shape[-1] // width)
            tokens = features[:, self.prefix :].transpose(1, 2)
            return tokens.reshape(len(tokens), -1, *grid)
        if features.shape[1] != self.channels:
            return features.permute(0, 3, 1, 2)
        return features
