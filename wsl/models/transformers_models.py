"""Image classifiers of transformers, from the Hugging Face hub or a local folder, only as safetensors."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from wsl.checkpoints import HF
from wsl.config import Preprocessing
from wsl.documents import load_json
from wsl.errors import DownloadError, UserError, first_line
from wsl.models.image_processor import read_processor
from wsl.models.known_classes import configured_classes
from wsl.models.weights import read_state_dict
from wsl.progress import quiet_import

log = logging.getLogger("wsl")

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_TENSORS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_INTERPOLATE = "interpolate_pos_encoding"
_EXAMPLE = "google/vit-base-patch16-224"


class Opened(NamedTuple):
    """A classifier of transformers, the preprocessing and classes in its files, and the function that calls it."""

    net: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    multi_label: bool
    forward: Callable[[Any, torch.Tensor], Any]


def open_transformers(name: str, weights: str) -> Opened:
    """An image classifier by its name on the hub, or from local files.

    `weights` is ``DEFAULT`` for those of the hub (downloaded on first use), a folder written by ``save_pretrained``, or
    a file of tensors, whose configuration is read from beside it or else from `name`.

    Raises:
        UserError: there is no such model, a download failed, the configuration is not one of an image classifier, the
            weights are pickled, or tensors do not fit.
    """
    shown = f"{HF}{name}"
    if not _NAME.fullmatch(name):
        raise UserError(f"{shown!r} is not a name on the Hugging Face hub: expected one such as {HF}{_EXAMPLE}")
    if weights == "none":
        raise UserError(
            f"{shown} without weights: transformers builds a network from its {_CONFIG} alone, expected DEFAULT or a "
            f"folder that holds {_CONFIG} and model.safetensors; for an untrained network give the module itself"
        )
    transformers = _library("transformers")
    with _quiet(transformers):
        folder, file = _fetch(name) if weights == "DEFAULT" else _local(name, weights)
        net = _load(transformers, folder, file, shown)
        settings = _processor(transformers, folder, shown)
    config: Any = net.config
    return Opened(
        net,
        read_processor(settings, getattr(config, "image_size", None)),
        configured_classes(config),
        config.problem_type == "multi_label_classification",
        call_flipped if settings.get("do_flip_channel_order") else call,
    )


def call(net: Any, images: torch.Tensor) -> Any:
    """The output of a classifier for images of any size, even if its position embeddings are for one size."""
    native = getattr(net.config, "image_size", None)
    sides = tuple(native) if isinstance(native, (list, tuple)) else (native, native)
    if tuple(images.shape[-2:]) != sides and _INTERPOLATE in inspect.signature(net.forward).parameters:
        return net(images, **{_INTERPOLATE: True})
    return net(images)


def call_flipped(net: Any, images: torch.Tensor) -> Any:
    """The output for RGB images of a classifier that was trained on BGR images."""
    return call(net, images.flip(1))


def _library(name: str) -> Any:
    try:
        with quiet_import():
            return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{HF} models need the transformers extra: pip install 'wsl-toolkit[transformers]'") from error


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence warnings and progress bars of transformers and the hub's client; errors are still raised."""
    loggers = [transformers.utils.logging, _library("huggingface_hub.utils.logging")]
    levels, bars = [one.get_verbosity() for one in loggers], loggers[0].is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.set_verbosity_error()
        loggers[0].disable_progress_bar()
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.set_verbosity(level)
            if bars:
                loggers[0].enable_progress_bar()


def _fetch(name: str, patterns: tuple[str, ...] = _TENSORS) -> tuple[Path, None]:
    """The folder of a model in the hub's cache, filled first where files are missing."""
    # The files are fetched one by one and opened as a folder, because transformers itself has pickled weights converted
    # by an online service.
    hub = _library("huggingface_hub")
    log.info("opening %s%s from the Hugging Face hub or its local cache", HF, name)
    try:
        return Path(hub.snapshot_download(name, allow_patterns=[_CONFIG, _PROCESSOR, *patterns])), None
    except Exception as error:  # from the hub's client, its HTTP library, or the system
        raise DownloadError(
            f"{HF}{name} could not be downloaded ({first_line(error)}): check the name and the connection, or give a "
            "folder that save_pretrained wrote with --local-weights"
        ) from error


def _local(name: str, weights: str) -> tuple[Path, Path | None]:
    """The folder of the configuration, and the file of the tensors if one was named."""
    path = Path(weights)
    if path.is_dir():
        return path, None
    if not path.exists():
        raise UserError(
            f"no weights {weights!r} for {HF}{name}: expected a folder with {_CONFIG} and model.safetensors, a file, "
            "or DEFAULT"
        )
    return (path.parent if (path.parent / _CONFIG).is_file() else _fetch(name, ())[0]), path


def _load(transformers: Any, folder: Path, file: Path | None, shown: str) -> nn.Module:
    """The network of a folder's configuration, with every parameter from the files."""
    if not (folder / _CONFIG).is_file():
        raise UserError(f"{folder} has no {_CONFIG}: expected a folder that save_pretrained wrote")
    if file is None and not any(next(folder.glob(pattern), None) for pattern in _TENSORS):
        raise UserError(
            f"{folder} has no model.safetensors for {shown}: expected weights as safetensors; pickled ones are not "
            "loaded, save them again with save_pretrained"
        )
    _refuse_kernels(load_json(folder / _CONFIG, "the settings of an image classifier"), folder / _CONFIG)
    state = None if file is None else read_state_dict(file)
    options = {"local_files_only": True, "trust_remote_code": False}
    family = transformers.AutoModelForImageClassification
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **options)
        if state is not None:  # with a state dict, the auto class does not choose the kind of model itself
            with torch.device("meta"):
                family = type(family.from_config(config, trust_remote_code=False))
        net, found = family.from_pretrained(
            folder if state is None else None,
            config=config,
            state_dict=state,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the first mismatch is reported below
            **options,
        )
    except Exception as error:  # a damaged file, a model of another task or with remote code: the types differ
        raise UserError(
            f"{shown} cannot be opened from {file or folder} ({first_line(error)}): expected an image classifier that "
            "transformers knows"
        ) from error
    _check_complete(found, file or folder, shown)
    whole: nn.Module = net.float().eval()
    return whole


def _refuse_kernels(settings: Any, path: Path, asked: bool = False) -> None:
    """Check that a configuration names no compiled code on the hub, as it can for attention by a name with a slash."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            _refuse_kernels(value, path, asked or "_implementation" in key)
    elif asked and isinstance(settings, str) and "/" in settings:
        raise UserError(f"{path} asks for code of the hub, {settings!r}, which is not loaded: remove it from the file")


def _check_complete(found: dict[str, Any], path: Path, shown: str) -> None:
    """Check that no parameter was left at random; unused tensors are allowed, as they belong to other tasks."""
    for key, given, expected in sorted(found["mismatched_keys"]):
        raise UserError(
            f"{path} does not fit {shown}: {key} is {tuple(given)}, expected {tuple(expected)} "
            "(another number of classes?)"
        )
    for key in sorted(found["missing_keys"]):
        raise UserError(
            f"{path} does not fit {shown}: {key} is missing (is it a model without a classifier, or another model?)"
        )


def _processor(transformers: Any, folder: Path, shown: str) -> dict[str, Any]:
    """The image processor's settings, with the defaults of its kind; empty without a settings file."""
    if not (folder / _PROCESSOR).is_file():
        log.warning(
            "%s: no %s in %s, taking ImageNet's mean and std and the size of its configuration",
            shown,
            _PROCESSOR,
            folder,
        )
        return {}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # not JSON, an unknown kind, or a missing library
        raise UserError(f"{folder / _PROCESSOR} cannot be read for {shown} ({first_line(error)})") from error
    settings: dict[str, Any] = processor.to_dict()
    return settings
