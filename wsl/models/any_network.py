"""Arbitrary networks: unwrapping, copying, a trial run on images, and finding the scores in the output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from wsl.cam.forward import Score
from wsl.cam.survey import Survey, survey
from wsl.errors import UserError, first_line

Forward = Callable[[Any, torch.Tensor], Any]
Net = TypeVar("Net", bound=nn.Module)


def find_scores(output: Any, name: str | int | None = None) -> torch.Tensor:
    """The scores (N, K) in a classifier's output: a tensor, or one in a tuple, a dict or an object with ``logits``.

    `name` selects one by key, attribute or position. By default ``logits`` are taken if there are any, else the first
    tensor with two axes.

    Raises:
        UserError: there are no scores.

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
        where = "" if name is None else f" as {name!r}" if found is not None else f" and no {name!r}"
        raise UserError(
            f"the classifier gives {_described(output)}{where}, expected scores (N, classes): name the output that "
            "holds them (output='logits', output=0), or give a function of your own (forward=)"
        )
    return found


def unwrapped(net: nn.Module) -> nn.Module:
    """The module inside wrappers that hide its layers: torch.compile, DataParallel.

    Raises:
        UserError: the module is scripted.

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
        raise UserError("a scripted module cannot be inspected: give the module that it was made from")
    return net


def own_copy(net: Net) -> Net:
    """A copy of a network, without hooks whose state cannot be copied.

    Raises:
        UserError: the network cannot be copied.
    """
    try:
        with torch.inference_mode(False):
            try:
                return copy.deepcopy(net)
            except (RuntimeError, TypeError):  # hooks of another library that hold activations
                hooks = ("_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
                held = (getattr(module, name) for module in net.modules() for name in hooks)
                return copy.deepcopy(net, {id(one): type(one)() for one in held})
    except (RuntimeError, TypeError) as error:
        reason = first_line(error)
        raise UserError(
            f"{type(net).__name__} cannot be copied ({reason}): expected a module that copy.deepcopy takes"
        ) from error


def frozen_copy(net: Net) -> Net:
    """A copy in evaluation mode and float32, whose weights require no gradients.

    Raises:
        UserError: the network cannot be copied.
    """
    return own_copy(net).eval().requires_grad_(False).float()


class Looked(NamedTuple):
    """A frozen copy of a network, a function for its scores (N, K), and its survey on some images."""

    net: nn.Module
    score: Score
    images: torch.Tensor
    survey: Survey
    classes: int


def look(net: nn.Module, forward: Forward | None, output: str | int | None, side: int) -> Looked:
    """Run a network on noise images of this side, on its own device, and survey its layers.

    Raises:
        UserError: the network cannot be copied, does not take the images, gives no scores, or has no spatial layer.
    """
    ours = frozen_copy(net)
    score = scorer(ours, forward, output)
    images = torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(0)).to(_device_of(ours))
    try:
        with torch.no_grad():
            classes = score(images).shape[1]
        return Looked(ours, score, images, survey(ours, score, images), classes)
    except UserError:
        raise
    except Exception as error:  # an arbitrary network may raise anything
        reason = first_line(error)
        raise UserError(
            f"{type(net).__name__} does not take images (N, 3, {side}, {side}) ({type(error).__name__}: {reason}): "
            "give the size and normalisation that it was trained with as preprocessing=, or as forward= a function "
            "that calls it"
        ) from error


def _device_of(net: nn.Module) -> torch.device:
    return next((tensor.device for tensor in (*net.parameters(), *net.buffers())), torch.device("cpu"))


def scorer(net: nn.Module, forward: Forward | None, output: str | int | None) -> Score:
    """A function from images to a network's scores (N, K)."""
    return lambda images: find_scores(net(images) if forward is None else forward(net, images), output)


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
