"""The scores in what a classifier gives, whatever library it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from wsl.errors import UserError


def find_scores(output: Any, name: str | int | None = None) -> torch.Tensor:
    """The scores (N, K) in a classifier's output: a tensor, or one in a tuple, a dict or an object with ``logits``.

    `name` says which: a key, an attribute or a position. Without it, ``logits`` are taken where there are any, else the
    first tensor of two axes.

    Raises:
        UserError: there are none.

    >>> find_scores({"features": torch.zeros(2, 3, 4, 4), "logits": torch.zeros(2, 5)}).shape
    torch.Size([2, 5])
    """
    if name is not None:
        found = _named(output, name)
    elif isinstance(output, torch.Tensor):
        found = output
    elif _named(output, "logits") is not None:
        found = _named(output, "logits")
    else:
        values = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
        found = next((one for one in values if isinstance(one, torch.Tensor) and one.ndim == 2), None)
    if isinstance(found, torch.Tensor) and found.ndim == 4 and found.shape[2:] == (1, 1):
        found = found.flatten(1)
    if not isinstance(found, torch.Tensor) or found.ndim != 2 or not found.is_floating_point():
        where = "" if name is None else f" as {name!r}"
        raise UserError(
            f"the classifier gives {_described(output)}{where}, expected scores (N, classes): name the output that "
            "holds them (output='logits', output=0), or give a function of your own (forward=)"
        )
    return found


def unwrapped(net: nn.Module) -> nn.Module:
    """The module inside wrappers whose layers cannot be looked at: torch.compile, DataParallel.

    Raises:
        UserError: a scripted module.

    >>> net = nn.Linear(2, 2)
    >>> unwrapped(DataParallel(net)) is net
    True
    """
    while True:
        if isinstance(net, (DataParallel, DistributedDataParallel)):
            net = net.module
        elif isinstance(net, torch._dynamo.OptimizedModule):
            net = net._orig_mod
        else:
            break
    if isinstance(net, torch.jit.ScriptModule):
        raise UserError("a scripted module cannot be looked into: give the module that it was made from")
    return net


def _named(output: Any, name: str | int) -> Any:
    if isinstance(name, int) or isinstance(output, Mapping):
        try:
            return output[name]
        except (KeyError, IndexError, TypeError):
            return None
    return getattr(output, name, None)


def _described(output: Any) -> str:
    if isinstance(output, torch.Tensor):
        return f"a tensor {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {', '.join(map(str, output))}"
    if isinstance(output, (tuple, list)):
        parts = ", ".join(
            str(tuple(one.shape)) if isinstance(one, torch.Tensor) else type(one).__name__ for one in output
        )
        return f"a {type(output).__name__} of {parts}"
    return f"a {type(output).__name__}"
