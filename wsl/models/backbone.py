"""Backbones by name: images to a feature map, from torchvision, timm or our own small network."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import math
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
from wsl.models.weights import StateDict, load_strictly, read_state_dict

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
        net = _download(lambda: builder(weights=entry), f"{name}'s weights {named}")
        return Classifier(net, name, preprocessing, categories)
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


def _download(build: Callable[[], nn.Module], what: str) -> nn.Module:
    try:
        return build()
    except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a bad hash is a RuntimeError
        raise UserError(
            f"{what} could not be downloaded ({error}): check the connection, or give a local file with --weights"
        ) from error


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
    try:
        net: nn.Module = _download(
            lambda: timm.create_model(name, pretrained=weights == "DEFAULT", **options),
            f"timm's weights of {name}",
        )
    except (TypeError, NotImplementedError, AssertionError) as error:
        raise UserError(f"timm/{name} does not take {options}: {str(error).splitlines()[0]}") from error
    except UserError:
        if timm.is_model(name):
            raise
        near = difflib.get_close_matches(name, timm.list_models(), 1)
        raise UserError(f"unknown timm model {name!r}" + (f": did you mean {near[0]!r}?" if near else "")) from None
    if local is not None:
        state = read_state_dict(local)
        # A backbone has no classifier; the file of a whole model has one.
        if options.get("num_classes") == 0:
            state = {key: value for key, value in state.items() if key in net.state_dict()}
        load_strictly(net, state, local, f"timm/{name}")
    return net


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
