"""A survey of a network by running it once: its spatial layers, which of them the scores depend on, its attention."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn

from wsl.cam.attention import AttentionMode
from wsl.cam.layouts import Layout, find_layout, to_map
from wsl.cam.taps import as_leaf, gives_one, open_output
from wsl.errors import UserError

# Layers that leave values unchanged, or only resample the map to a fixed size.
_SKIPPED = (nn.Dropout, nn.Identity, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten)


@dataclass(slots=True)
class Layer:
    """A layer whose output is a map or tokens; ``channels`` is the number of channels of the map.

    ``counts`` says whether the scores depend on its map, class and register tokens excluded.
    """

    name: str
    layout: Layout
    channels: int
    counts: bool = False


@dataclass(slots=True)
class Survey:
    """The spatial layers of a network in the order in which they finish, and the blocks of its global self-attention.

    ``blocks`` is empty if the network has no self-attention over all of its tokens, or none in blocks; ``layers`` does
    not contain the layers inside the attention of a block.
    """

    layers: list[Layer] = field(default_factory=list)
    blocks: tuple[str, ...] = ()
    prefix: int = 0

    @property
    def last(self) -> Layer:
        """The layer for gradient maps: the last one on which the scores depend.

        In transformers with a class token this is the input of the last attention, since the scores do not depend on
        the patches of the last block.
        """
        channels = self.layers[-1].channels
        counting = [layer for layer in self.layers if layer.counts]
        alike = [layer for layer in counting if layer.channels == channels]
        return (alike or counting or self.layers)[-1]

    @property
    def by_class_token(self) -> bool:
        """Whether the scores are computed from a class token, which receives evidence only through attention."""
        return self.prefix > 0 and not self.layers[-1].counts

    def stages(self, count: int) -> list[str]:
        """The last layers of the `count` coarsest resolutions, finest first.

        Raises:
            UserError: the network has fewer resolutions.
        """
        outermost: dict[tuple[int, int], str] = {}
        for layer in self.layers:
            size = layer.layout.size
            if layer.counts and layer.name.count(".") <= outermost.get(size, layer.name).count("."):
                outermost.pop(size, None)  # so that the order is that of the last layers
                outermost[size] = layer.name
        if len(outermost) < count:
            raise UserError(
                f"the network has {len(outermost)} resolutions, and the method reads layers of {count}: name the layers"
            )
        return list(outermost.values())[-count:]


def survey(net: nn.Module, score: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> Survey:
    """Run a network on a few images and inspect all of its layers; the network may be modified.

    `score` runs `net` and gives the scores (N, K) of images.

    Raises:
        UserError: no layer's output has spatial extent.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> survey(net, net, torch.randn(2, 3, 8, 8)).last.name
    '1'
    """
    watch = _Watch(net, images)
    with torch.inference_mode(False), torch.enable_grad(), watch.watching(), AttentionMode(watch.attend):
        scores = score(images)
    if not watch.layers:
        raise UserError(
            f"no layer of {type(net).__name__} gives a map or tokens: expected an image network with a layer whose "
            "output is (N, C, h, w), (N, h, w, C) or (N, tokens, C)"
        )
    _find_counting(watch.layers, watch.tensors, scores)
    size = watch.layers[-1].layout.size
    # The last layer may give the patches as a map, without the class token that accompanied them.
    prefix = next((one.layout.prefix for one in watch.layers[::-1] if one.layout[:2] == ("tokens", size)), 0)
    tokens = prefix + size[0] * size[1]
    stacks = [stack for stack, shape in watch.attentions if shape[0] == len(images) and shape[-1] == tokens]
    blocks = _blocks(stacks)
    # Queries, keys and values are also tokens, but each is only a part of the attention's input.
    inside = tuple(f"{stack[-1]}." for stack in stacks if blocks and stack[-1] not in blocks)
    layers = [layer for layer in watch.layers if not layer.name.startswith(inside)]
    return Survey(layers or watch.layers, blocks, prefix)


class _Handed(NamedTuple):
    """A layer's output as passed to the next layer; if the version has changed, it was modified in place since."""

    layer: int
    output: torch.Tensor
    version: int


class _Watch:
    """The layers, tensors and attention recorded in one run."""

    def __init__(self, net: nn.Module, images: torch.Tensor) -> None:
        self.layers: list[Layer] = []
        self.tensors: list[torch.Tensor] = []
        self.attentions: list[tuple[tuple[str, ...], torch.Size]] = []
        self._net, self._images = net, images
        self._stack: list[str] = []
        self._handed: dict[int, _Handed] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        hooks = []
        for name, module in self._net.named_modules():
            if name:
                hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self._stack.append(name)))
                hooks.append(module.register_forward_hook(lambda m, _, out, name=name: self._see(name, m, out)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def attend(self, probabilities: torch.Tensor) -> None:
        self.attentions.append((tuple(self._stack), probabilities.shape))

    def _see(self, name: str, module: nn.Module, output: Any) -> Any:
        self._stack.pop()
        tensor, put_back = open_output(output)
        if tensor is None or len(tensor) != len(self._images) or isinstance(module, _SKIPPED):
            return None
        known = self._handed.get(id(tensor))
        if known is not None and known.version == tensor._version:
            # A container takes the place of its last layer, as its name is the better one, unless it gives several
            # tensors: what follows may read another than the one that represents it.
            if gives_one(output):
                self.layers[known.layer].name = name
            return None
        height, width = self._images.shape[-2:]
        layout = find_layout(tensor.shape, (height, width))
        if layout is None:
            return None
        kept = as_leaf(tensor)
        given = kept.clone()
        self._handed[id(given)] = _Handed(len(self.layers), given, given._version)
        self.layers.append(Layer(name, layout, tensor.shape[layout.channel_axis]))
        self.tensors.append(kept)
        return put_back(given)


def _find_counting(layers: Sequence[Layer], tensors: Sequence[torch.Tensor], scores: torch.Tensor) -> None:
    if not scores.requires_grad:  # computed under torch.no_grad: any layer may count
        for layer in layers:
            layer.counts = True
        return
    generator = torch.Generator().manual_seed(0)
    mixture = (scores * torch.randn(scores.shape, generator=generator).to(scores)).sum()
    gradients = torch.autograd.grad(mixture, tensors, allow_unused=True)
    for layer, gradient in zip(layers, gradients, strict=True):
        layer.counts = gradient is not None and bool(to_map(gradient, layer.layout).any())


def _blocks(stacks: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The sibling modules that hold one attention each, from the stack of running modules at each attention."""
    if len(stacks) < 2:
        return ()
    depth = 0
    while all(len(stack) > depth and stack[depth] == stacks[0][depth] for stack in stacks):
        depth += 1
    blocks = [stack[depth] if len(stack) > depth else "" for stack in stacks]
    return tuple(blocks) if len(set(blocks)) == len(blocks) and all(blocks) else ()
