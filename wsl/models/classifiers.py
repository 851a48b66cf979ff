"""Classifiers of torchvision, timm and transformers by name, with pretrained, local or no weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models as torchvision_models

from wsl.checkpoints import HF
from wsl.config import Preprocessing
from wsl.errors import UserError, nearest
from wsl.models.known_classes import known_classes
from wsl.models.state_dicts import fit_names, is_auxiliary, load_strictly
from wsl.models.timm_models import TIMM, create_resizable, timm_data
from wsl.models.transformers_models import open_transformers
from wsl.models.weights import StateDict, fetch, read_raw, read_state_dict, weights_path

TINY = "tinynet"


@dataclass(frozen=True, slots=True)
class Classifier:
    """A whole classifier as built by its library, with the preprocessing and classes of its weights.

    ``forward`` calls a network that takes more than images.
    """

    net: nn.Module
    name: str
    preprocessing: Preprocessing
    classes: tuple[str, ...] = ()
    multi_label: bool = False
    forward: Callable[[Any, torch.Tensor], Any] | None = None


def create_classifier(name: str, weights: str = "DEFAULT", *, num_classes: int | None = None) -> Classifier:
    """A classifier of torchvision (or ``timm/NAME``, ``hf/NAME``) by name, with pretrained, local or no weights.

    A local file determines the number of classes; `num_classes` is for a network without weights.

    Raises:
        UserError: the name or weights are unknown, a download failed, or a file does not fit.
    """
    if name.startswith(TIMM):
        return _timm_classifier(name, weights, num_classes)
    if name.startswith(HF):
        opened = open_transformers(name.removeprefix(HF), weights)
        return Classifier(name=name, **opened._asdict())
    known = torchvision_models.list_models(module=torchvision_models)
    if name == TINY:
        raise UserError("tinynet is a backbone without a classifier: expected a torchvision name, timm/NAME or hf/NAME")
    if name not in known:
        near = nearest(name, [TINY, *known])
        hint = f"did you mean {near!r}?" if near else "expected a torchvision name, timm/NAME or hf/NAME"
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
        options = {} if num_classes is None else {"num_classes": num_classes}
        net = untrained(builder, **options)
        # A vision transformer is built for one size, which may differ from that of its default weights.
        side = getattr(net, "image_size", preprocessing.image_size)
        return Classifier(net, name, replace(preprocessing, image_size=side))
    path = weights_path(weights, name, list(dict.fromkeys(["DEFAULT", *kinds.__members__])))
    state = read_state_dict(path)
    net = untrained(builder)
    state = fit_names(state, net.state_dict(), path, name)
    default, count = (_count_classes(one, net, path, name) for one in (net.state_dict(), state))
    if count != default:
        net = untrained(builder, num_classes=count)
    load_strictly(net, _without_auxiliary(state, net), path, name)
    return Classifier(net, name, preprocessing, categories if count == len(categories) else ())


def untrained(builder: Callable[..., nn.Module], **options: Any) -> nn.Module:
    """A network of torchvision with random weights.

    >>> type(untrained(torchvision_models.get_model_builder("squeezenet1_1"))).__name__
    'SqueezeNet'
    """
    with warnings.catch_warnings():
        # GoogLeNet and Inception warn of a coming change of their initialisation.
        warnings.simplefilter("ignore", FutureWarning)
        return builder(weights=None, **options)


def _pretrained(builder: Callable[..., nn.Module], entry: Any, name: str) -> nn.Module:
    """The result of ``builder(weights=entry)``, from a file that is checked and never unpickled.

    The builders know options that belong to the weights and old names of parameters, which a state dict does not tell.
    They get a substitute entry that returns the tensors already loaded.
    """
    file = fetch(entry.url, f"{name}'s weights {entry.name}")
    state = read_raw(file)
    stand_in = object.__new__(type(entry))
    vars(stand_in).update(vars(entry), get_state_dict=lambda **_: state)
    try:
        return builder(weights=stand_in)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit {name}: {str(error).splitlines()[-1].strip()}") from error


def _count_classes(state: StateDict, net: nn.Module, path: Path, name: str) -> int:
    """The number of outputs of the last layer. Models list their layers from input to output, files may not."""
    last = [key for key, tensor in net.state_dict().items() if tensor.ndim >= 2 and not is_auxiliary(key)][-1]
    if last not in state:
        raise UserError(f"{path} does not fit {name}: {last} is missing; wsl-info {path} says what it fits")
    return int(state[last].shape[0])


def _without_auxiliary(state: StateDict, net: nn.Module) -> StateDict:
    """The state with missing auxiliary classifiers filled in, and superfluous ones removed; files may lack them."""
    own = {key: value for key, value in net.state_dict().items() if is_auxiliary(key)}
    return {**own, **{k: v for k, v in state.items() if not (is_auxiliary(k) and k not in own)}} if own else state


def _timm_classifier(name: str, weights: str, num_classes: int | None) -> Classifier:
    options = {} if num_classes is None else {"num_classes": num_classes}
    net = create_resizable(name.removeprefix(TIMM), weights, **options)
    if getattr(net, "num_classes", None) == 0:
        head = "" if getattr(net, "cls_token", None) is None else " --head ts-cam"
        raise UserError(
            f"{name} has no classifier, its weights give features: train a head on labelled images with wsl-train "
            f"--data DATA --out RUN --backbone {name} --freeze-backbone{head}, then take --weights RUN"
        )
    data = timm_data().resolve_model_data_config(net)
    preprocessing = Preprocessing(image_size=data["input_size"][-1], mean=tuple(data["mean"]), std=tuple(data["std"]))
    return Classifier(net, name, preprocessing, known_classes(net))
