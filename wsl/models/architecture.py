"""Recognition of the classifier of a weight file by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision import models as torchvision_models

from wsl.errors import UserError
from wsl.models.classifiers import untrained
from wsl.models.state_dicts import fit_names, is_auxiliary
from wsl.models.timm_models import TIMM, create_timm, timm_names
from wsl.models.weights import StateDict, read_state_dict

_COUNTER = "num_batches_tracked"
_IN_PLACE = re.compile("[^_]_$")


def find_architecture(path: Path) -> str | None:
    """The classifier whose tensors a file holds, with any number of classes; None if it is not known.

    The classifiers of torchvision and timm with whose names the file's name starts (``resnet50-0676ba61.pth``) are
    tried first, then all others of torchvision that can be built without memory for their weights.

    Raises:
        UserError: the file cannot be read.
    """
    state = read_state_dict(path)
    return next((name for name, net in _candidates(path) if _fits(state, net, path, name)), None)


def _candidates(path: Path) -> Iterator[tuple[str, nn.Module]]:
    stem, known = path.name.lower(), torchvision_models.list_models(module=torchvision_models)
    named = sorted((name for name in known if stem.startswith(name)), key=len, reverse=True)
    for name in named:
        yield name, untrained(torchvision_models.get_model_builder(name))
    for name in sorted((name for name in timm_names() if stem.startswith(name)), key=len, reverse=True)[:3]:
        yield f"{TIMM}{name}", create_timm(name, "none")
    for name in known:
        try:
            with torch.device("meta"), _Unfilled():
                net = untrained(torchvision_models.get_model_builder(name))
        except NotImplementedError:  # RegNets compute their widths with tensors
            continue
        yield name, net


class _Unfilled(TorchFunctionMode):
    """Inside, tensors without memory are not filled: to compute nothing for all classifiers takes half a minute."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _IN_PLACE.search(function.__name__):
            filled = kwargs.get("tensor", args[0] if args else None)
            if isinstance(filled, torch.Tensor) and filled.is_meta:
                return filled
        return function(*args, **kwargs)


def _fits(state: StateDict, net: nn.Module, path: Path, name: str) -> bool:
    """Whether the tensors are those of a network, except for the number of classes."""
    own = {key: tensor for key, tensor in net.state_dict().items() if not is_auxiliary(key)}
    try:
        state = fit_names(state, own, path, name)
    except UserError:
        return False
    found = {key: tensor for key, tensor in state.items() if not is_auxiliary(key)}
    counted = {key for key in {*own, *found} if not key.endswith(_COUNTER)}
    if any(key not in own or key not in found for key in counted):
        return False
    other = [key for key in own if key in counted and found[key].shape != own[key].shape]
    last = [key for key in own if key in counted][-2:]
    return set(other) <= set(last) and all(found[key].shape[1:] == own[key].shape[1:] for key in other)
