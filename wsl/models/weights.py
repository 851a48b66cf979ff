"""Weights from local files and by known names, never through pickled code."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from wsl.errors import DownloadError, UserError, first_line

log = logging.getLogger("wsl")

StateDict = dict[str, torch.Tensor]

# The hash in file names of torch.hub, torchvision and timm: name-0a1b2c3d.pth.
_HASH = re.compile(r"-([a-f0-9]{8,})\.")
_AVERAGED = ("state_dict_ema", "model_ema")
_ONLY, _NOT_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def read_state_dict(path: Path) -> StateDict:
    """Tensors by name from a ``.safetensors`` file or a ``.pth`` that holds tensors only.

    The usual nesting of checkpoints (``state_dict``, ``model``) and the ``module.`` of data-parallel training are
    removed. If a checkpoint also holds averaged weights (``state_dict_ema``, ``model_ema``), these are taken, as timm
    and torchvision do for evaluation.

    Raises:
        UserError: the file is missing, has another format, or contains pickled code.
    """
    return _unwrap(_read(path), path)


def weights_path(weights: str, name: str, names: list[str]) -> Path:
    """The local file that ``weights`` names.

    Raises:
        UserError: there is no such file.
    """
    path = Path(weights)
    if path.exists():
        return path
    raise UserError(f"no weights {weights!r} for {name}: expected a file, none, or one of {', '.join(names)}")


def fetch(url: str, what: str) -> Path:
    """The file of a URL in torch.hub's cache, downloaded if necessary.

    The SHA-256 in its name is checked each time, because a cached file may have changed since its download.

    Raises:
        UserError: the download failed, or the file does not match its name; the message starts with `what`.
    """
    file = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlparse(url).path).name)
    found = _HASH.search(file.name)
    expected = found[1] if found else ""
    if not file.exists():
        log.info("downloading %s to %s", url, file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), expected or None)
        except (OSError, RuntimeError) as error:  # urllib's errors are OSErrors; a bad hash is a RuntimeError
            raise not_fetched(f"{what} ({url})", error, file.name) from error
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): remove it to download {what} again") from error
    if not digest.startswith(expected):
        raise UserError(
            f"{file} is not what its name says (SHA-256 {digest[:8]}…, expected {expected}): "
            f"remove it to download {what} again"
        )
    return file


def not_fetched(what: str, error: Exception, file: str) -> DownloadError:
    """The error for named weights that could not be downloaded or read as tensors, whose file is called `file`."""
    return DownloadError(
        f"{what} could not be downloaded or read ({first_line(error)}): check the connection, or download the file on "
        f"another machine and add --local-weights {file} to the command (wsl-train: --weights {file}; in Python: "
        f'weights="{file}")'
    )


def read_raw(path: Path) -> dict[str, Any]:
    """The contents of a file with any nesting, for a library that removes the nesting itself.

    Raises:
        UserError: as for `read_state_dict`.
    """
    loaded = _read(path)
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds no state dict: expected tensors by parameter name")
    return loaded


@contextlib.contextmanager
def tensors_only() -> Iterator[None]:
    """Inside the block, every `torch.load` loads only tensors, whoever calls it and with whatever arguments."""
    before = {name: os.environ.pop(name, None) for name in (_ONLY, _NOT_ONLY)}
    os.environ[_ONLY] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text to a safetensors file.

    Raises:
        OSError: the file cannot be written; safetensors would raise an error of its own, whatever the reason.
    """
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error


def _read(path: Path) -> object:
    if not path.is_file():
        raise UserError(f"no weights file at {path}: expected a .safetensors or .pth file")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} carries pickled code or is damaged and was not loaded: expected tensors only; "
            "save it again as model.state_dict() or as safetensors"
        ) from error
    except Exception as error:
        # For damaged files torch's reader raises a dozen types, some without a message.
        raise UserError(f"{path} is not a PyTorch checkpoint ({first_line(error)})") from error


def _unwrap(loaded: object, path: Path) -> StateDict:
    for key in (*_AVERAGED, "state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            if key in _AVERAGED:
                log.info("%s: taking the averaged weights, %s", path, key)
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise UserError(f"{path} holds no state dict: expected tensors by parameter name")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items() if name != "n_averaged"}
