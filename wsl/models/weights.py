"""Weights from local files, never through pickled code."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from wsl.errors import UserError

StateDict = dict[str, torch.Tensor]


def read_state_dict(path: Path) -> StateDict:
    """Tensors by name from a ``.safetensors`` file or a ``.pth`` that holds tensors only.

    A checkpoint's usual wrappings (``state_dict``, ``model``) and the ``module.`` of data-parallel training are
    taken off.

    Raises:
        UserError: the file is missing, is of another kind, or carries pickled code.
    """
    if not path.is_file():
        raise UserError(f"no weights file at {path}: expected a .safetensors or .pth file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} carries pickled code or is damaged and was not loaded: expected tensors only; "
            "save it again as model.state_dict() or as safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a PyTorch checkpoint ({str(error).splitlines()[0]})") from error
    return _unwrap(loaded, path)


def _unwrap(loaded: object, path: Path) -> StateDict:
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise UserError(f"{path} holds no state dict: expected tensors by parameter name")
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}


def load_strictly(model: torch.nn.Module, state: StateDict, path: Path, name: str) -> None:
    """Load every tensor, or say in one line which is the first that does not fit.

    Raises:
        UserError: a name or a shape differs.
    """
    own = model.state_dict()
    for key, tensor in own.items():
        if key not in state:
            raise UserError(f"{path} does not fit {name}: {key} is missing (was it saved from another model or head?)")
        if state[key].shape != tensor.shape:
            raise UserError(
                f"{path} does not fit {name}: {key} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)} "
                "(another number of classes, maps per class or head?)"
            )
    unknown = sorted(set(state) - set(own))
    if unknown:
        raise UserError(f"{path} does not fit {name}: {unknown[0]} is not part of it (another model?)")
    model.load_state_dict(state)
