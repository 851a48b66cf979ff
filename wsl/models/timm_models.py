"""timm's networks: built by name, with verified weights, as classifiers or feature extractors."""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsl.checkpoints import HF
from wsl.errors import UserError, first_line, nearest
from wsl.hub import hub_client, quiet
from wsl.models.state_dicts import fit_names, load_strictly
from wsl.models.weights import (
    fetch,
    not_fetched,
    read_raw,
    read_state_dict,
    tensors_only,
    weights_path,
)
from wsl.progress import quiet_import

log = logging.getLogger("wsl")

TIMM = "timm/"

# Options with which architectures of a fixed image size accept others, with padding if patches do not divide the size.
_RESIZABLE = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
)


def names_place(name: str) -> bool:
    """Whether the name is a location (a repository of the hub, a folder) rather than a name that timm knows.

    >>> names_place("timm/hf-hub:someone/net"), names_place("hf/someone/net"), names_place("timm/resnet50.a1_in1k")
    (True, True, False)
    """
    if name.startswith(HF):
        return True
    return name.startswith(TIMM) and re.search(r"[:/\\]", name.removeprefix(TIMM)) is not None


def is_timm_model(name: str) -> bool:
    """Whether timm is installed and ``timm/NAME`` is a network that it knows by name.

    >>> is_timm_model("timm/resnet18"), is_timm_model("timm/resnet18.a1_in1k"), is_timm_model("timm/hf-hub:some/net")
    (True, True, False)
    """
    try:
        timm = _timm()
    except UserError:
        return False
    return not names_place(name) and bool(timm.is_model(name.removeprefix(TIMM)))


def refuse_place(name: str) -> None:
    """Refuse a backbone given as a location: opening a checkpoint must not download what it names.

    Raises:
        UserError: the name is a location.

    >>> refuse_place("timm/local-dir:net")
    Traceback (most recent call last):
    wsl.errors.UserError: the backbone 'timm/local-dir:net' is a place to load from, and a checkpoint may not name ...
    """
    if names_place(name):
        raise UserError(
            f"the backbone {name!r} is a place to load from, and a checkpoint may not name one: expected a name that "
            "timm knows, such as timm/resnet50.a1_in1k; give other weights of it as a local file"
        )


class UnknownOption(UserError):
    """Raised for an option that a network's constructor does not have."""


def _timm() -> Any:
    try:
        with quiet_import():
            return importlib.import_module("timm")
    except ImportError as error:
        raise UserError("timm backbones need the timm extra: pip install 'wsl-toolkit[timm]'") from error


def timm_data() -> Any:
    """The module ``timm.data``: preprocessing, and information on ImageNet.

    Raises:
        UserError: timm is not installed.
    """
    _timm()
    return importlib.import_module("timm.data")


def timm_names() -> list[str]:
    """The architectures of timm; none if it is not installed."""
    try:
        return list(_timm().list_models())
    except UserError:
        return []


def create_timm(name: str, weights: str, **options: Any) -> nn.Module:
    """A network of timm by name, with pretrained weights, those of a local file, or none."""
    timm = _timm()
    local = None if weights in ("DEFAULT", "none") else weights_path(weights, f"{TIMM}{name}", ["DEFAULT"])
    pretrained, what = weights == "DEFAULT", f"timm's weights of {name}"
    try:
        overlay = _timm_overlay(timm, name, what) if pretrained else {}
        if pretrained and not overlay and (timm.is_model(name) or names_place(f"{TIMM}{name}")):
            _announce(name)
        # From the Hugging Face hub timm loads safetensors if there are any, else pickled files: as tensors only, but
        # not in every release, and without that restriction after a TypeError.
        with tensors_only(), quiet(hub_client()):
            net: nn.Module = timm.create_model(name, pretrained=pretrained, **overlay, **options)
    except UserError:
        raise
    except (TypeError, NotImplementedError, AssertionError) as error:
        kind = UnknownOption if "unexpected keyword argument" in str(error) else UserError
        raise kind(f"timm/{name} does not take {options}: {first_line(error)}") from error
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        if timm.is_model(name) or names_place(f"{TIMM}{name}"):
            raise not_fetched(what, error, "model.safetensors") from error
        near = nearest(name, timm.list_models())
        raise UserError(f"unknown timm model {name!r}" + (f": did you mean {near!r}?" if near else "")) from None
    if overlay:
        net.pretrained_cfg.pop("state_dict", None)  # type: ignore[union-attr, operator]
    if local is not None:
        _load_local(net, local, name)
    return net


def _load_local(net: nn.Module, path: Path, name: str) -> None:
    """Fill a network from a local file, whose classifier may have another number of classes or be unused."""
    own = net.state_dict()
    state = fit_names(read_state_dict(path), own, path, f"timm/{name}")
    if getattr(net, "num_classes", 0) == 0:
        # A backbone has no classifier; the file of a whole model has one.
        state = {key: value for key, value in state.items() if key in own}
    else:
        layers = net.pretrained_cfg.get("classifier")  # type: ignore[union-attr, operator]
        last = f"{layers if isinstance(layers, str) else (layers or ('',))[0]}.weight"
        if last in state and last in own and len(state[last]) != len(own[last]):
            net.reset_classifier(len(state[last]))  # type: ignore[operator]
    load_strictly(net, state, path, f"timm/{name}")


def create_resizable(name: str, weights: str, **options: Any) -> nn.Module:
    """As `create_timm`, and if the architecture allows it, also for images of other sizes."""
    # Only the constructor knows its options; it refuses unknown ones before weights are fetched.
    for flags in _RESIZABLE:
        with contextlib.suppress(UnknownOption):
            return create_timm(name, weights, **options, **flags)
    return create_timm(name, weights, **options)


def _timm_overlay(timm: Any, name: str, what: str) -> dict[str, Any]:
    """The tensors of the few models that timm would load through torch.hub, whose cache it unpickles unchecked."""
    if names_place(f"{TIMM}{name}"):
        return {}
    known = timm.models.get_pretrained_cfg(name)
    if known is None or known.hf_hub_id or known.custom_load or not known.url:
        return {}
    return {"pretrained_cfg_overlay": {"state_dict": read_raw(fetch(known.url, what))}}


@functools.cache
def _announce(name: str) -> None:
    """Say once where weights come from, because without a connection the hub's client gives up only after a minute."""
    log.info("opening %s%s from the Hugging Face hub or its local cache", TIMM, name)


class TimmFeatures(nn.Module):
    """timm's ``forward_features``; ``side`` is the image size of its weights, ``prefix`` the number of other tokens."""

    def __init__(self, name: str, weights: str, output_stride: int | None) -> None:
        super().__init__()
        options = {} if output_stride is None else {"output_stride": output_stride}
        self.net = create_resizable(name, weights, num_classes=0, **options)
        self.side = int(self.net.pretrained_cfg["input_size"][-1])  # type: ignore[index]
        self.prefix = int(getattr(self.net, "num_prefix_tokens", 0))

    def forward(self, images: torch.Tensor) -> Any:
        """Features of a batch of normalised images."""
        return self.net.forward_features(images)  # type: ignore[operator]
