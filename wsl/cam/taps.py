"""Outputs of named layers, captured as leaves for differentiation, or replaced, while a network runs."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from wsl.errors import UserError


class LayerTaps:
    """Reads or replaces the outputs of layers inside a ``with`` block, separately in each thread.

    The hooks stay on the network, so pass a copy of it. A layer that gives several tensors is represented by the first.

    Raises:
        UserError: the network has no layer of that name; the message suggests the nearest ones.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    >>> taps = LayerTaps(net.requires_grad_(False), ["0"])
    >>> with taps.reading() as outputs:
    ...     scores = net(torch.randn(1, 3, 8, 8)).mean((2, 3))
    >>> torch.autograd.grad(scores.sum(), outputs["0"][0])[0].shape
    torch.Size([1, 4, 6, 6])
    """

    def __init__(self, net: nn.Module, layers: Sequence[str]) -> None:
        modules = dict(net.named_modules())
        self._local = threading.local()
        for layer in layers:
            if layer not in modules:
                raise UserError(_no_layer(layer, list(modules)))
            modules[layer].register_forward_hook(partial(self._see, layer))

    @contextmanager
    def reading(self) -> Iterator[dict[str, list[torch.Tensor]]]:
        """The outputs of each run of each layer, available once the network has run inside the block.

        Each is a leaf of the graph, or part of it if it depends on another output that is read, so nothing below the
        lowest layer is differentiated.
        """
        seen: dict[str, list[torch.Tensor]] = {}
        self._local.seen = seen
        try:
            yield seen
        finally:
            del self._local.seen

    @contextmanager
    def replacing(self, layer: str, output: torch.Tensor, run: int = 0) -> Iterator[None]:
        """Replace the output of one run of a layer; the batch may have another size."""
        self._local.other = [layer, run, output]
        try:
            yield
        finally:
            del self._local.other

    def _see(self, layer: str, _: nn.Module, inputs: Any, output: Any) -> Any:
        other = getattr(self._local, "other", None)
        if other is not None and other[0] == layer:
            other[1] -= 1
            return open_output(output)[1](other[2]) if other[1] == -1 else None
        seen: dict[str, list[torch.Tensor]] | None = getattr(self._local, "seen", None)
        if seen is None:
            return None
        tensor, put_back = open_output(output)
        if tensor is None:
            return None
        kept = as_leaf(tensor)
        seen.setdefault(layer, []).append(kept)
        # A clone, because the next layer may work in place.
        return put_back(kept.clone())


def as_leaf(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor if it is part of a graph, else a leaf that requires a gradient."""
    return tensor if tensor.requires_grad else tensor.detach().requires_grad_()


def open_output(output: Any) -> tuple[torch.Tensor | None, Callable[[torch.Tensor], Any]]:
    """The first floating-point tensor in a layer's output, and a function that replaces it in the output.

    >>> tensor, put_back = open_output((torch.zeros(2), None))
    >>> put_back(torch.ones(2))
    (tensor([1., 1.]), None)
    """
    leaves, shape = pytree.tree_flatten(output)
    floating = [isinstance(leaf, torch.Tensor) and leaf.is_floating_point() for leaf in leaves]
    if not any(floating):
        return None, lambda new: output
    first = floating.index(True)
    return leaves[first], lambda new: pytree.tree_unflatten([*leaves[:first], new, *leaves[first + 1 :]], shape)


def gives_one(output: Any) -> bool:
    """Whether a layer's output holds exactly one floating-point tensor.

    >>> gives_one([torch.zeros(2), torch.arange(2)]), gives_one([torch.zeros(2), torch.zeros(2)])
    (True, False)
    """
    return sum(isinstance(leaf, torch.Tensor) and leaf.is_floating_point() for leaf in pytree.tree_leaves(output)) == 1


def _no_layer(layer: str, names: list[str]) -> str:
    near = difflib.get_close_matches(layer, names, 3)
    if not near:
        near = [name for name in names if name and "." not in name][-5:]
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else "it has no layers"
    return f"the network has no layer {layer!r}: {hint}"
