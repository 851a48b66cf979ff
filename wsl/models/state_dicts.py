"""Matching the tensors of a file to the parameters of a network: prefixes, older names, and nothing left over."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import nn

from wsl.errors import UserError, first_line
from wsl.models.weights import StateDict

# Counted by batch norms since torch 0.4.1, and not used in evaluation.
_COUNTER = "num_batches_tracked"
# torchvision's own files of DenseNet have older names, which its builder replaces.
_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.(\d)\.")


def fit_names(state: StateDict, names: Collection[str], path: Path, name: str) -> StateDict:
    """The state dict under the network's own parameter names.

    The prefix of a wrapper is removed: ``module.`` (data parallel), ``_orig_mod.`` (torch.compile), ``model.`` or
    ``net.`` (Lightning), or any other. Names that match no parameter are kept, so that they are refused later.

    Raises:
        UserError: the file contains the network several times, under several prefixes.

    >>> import torch
    >>> list(fit_names({"model.fc.bias": torch.zeros(1)}, ["fc.bias"], Path("a.pth"), "net"))
    ['fc.bias']
    """
    state = {_DENSE_LAYER.sub(r"\1.\2\3.", key): tensor for key, tensor in state.items()}
    own = [key for key in names if not key.endswith(_COUNTER)]
    if not own or all(key in state for key in own):
        return state
    # A layer's name may end with another's, as downsample.0.weight ends with 0.weight: the longest match counts.
    covered: dict[str, int] = {}
    for prefix in {key.removesuffix(one) for one in own[:1] + own[-1:] for key in state if key.endswith(one)}:
        if not prefix or prefix.endswith("."):
            covered[prefix] = sum(prefix + key in state for key in own)
    most = max(covered.values(), default=0)
    best = sorted(prefix for prefix, count in covered.items() if count == most)
    if len(best) > 1 and "" not in best:
        raise UserError(
            f"{path} holds {name} {len(best)} times, as {', '.join(best)}: expected one; save the state dict of the "
            "part to take"
        )
    if not best or "" in best:
        return state
    return {key.removeprefix(best[0]): tensor for key, tensor in state.items()}


def load_strictly(model: nn.Module, state: StateDict, path: Path, name: str) -> None:
    """Load every tensor, or report in one line the first one that does not fit.

    Raises:
        UserError: a name or a shape differs.
    """
    own = model.state_dict()
    state = fit_names(state, own, path, name)
    state |= {key: tensor for key, tensor in own.items() if key.endswith(_COUNTER) and key not in state}
    reason = None
    # Layers read the version of their format from the metadata and convert older ones; files do not contain it.
    for metadata in (getattr(own, "_metadata", None), None):
        versioned: Any = OrderedDict(state)
        versioned._metadata = metadata
        try:
            model.load_state_dict(versioned)
            return
        except (RuntimeError, ValueError) as error:
            reason = reason or first_line(error)
    raise UserError(f"{path} does not fit {name}: {_misfit(state, own) or reason}")


def _misfit(state: StateDict, own: StateDict) -> str:
    """The first tensor that is missing, superfluous or of another shape."""
    for key, tensor in own.items():
        if key not in state:
            return f"{key} is missing (was it saved from another model or head?)"
        if state[key].shape != tensor.shape:
            return (
                f"{key} is {tuple(state[key].shape)}, expected {tuple(tensor.shape)} "
                "(another number of classes, maps per class or head?)"
            )
    unknown = sorted(set(state) - set(own))
    return f"{unknown[0]} is not part of it (another model?)" if unknown else ""


def is_auxiliary(key: str) -> bool:
    """Whether a parameter belongs to an auxiliary classifier of GoogLeNet or Inception, which only training needs.

    >>> is_auxiliary("aux1.fc.weight"), is_auxiliary("AuxLogits.fc.bias"), is_auxiliary("fc.weight")
    (True, True, False)
    """
    return key.lower().startswith("aux")
