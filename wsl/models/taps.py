"""Intermediate features of a backbone: finding the layers that have them as inputs, and reading these in a run."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from heads.downsampling import Downsampling
from wsl.models.grid import Grid, follow, place
from wsl.models.position_tracer import PositionTracer

if TYPE_CHECKING:
    from wsl.models.backbone import Backbone

MAP = ""
"""The key of the backbone's own map, used instead of a layer's name."""
_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, Downsampling)
Inputs = tuple[torch.Tensor, ...]


class TapFinder:
    """Finds the layers that shrink a network's map, or did so before dilation, while the network is traced."""

    def __init__(self, tracer: PositionTracer, images: torch.Tensor, dilated: Collection[str]) -> None:
        self._tracer, self._images, self._dilated = tracer, images, dilated
        self._shrinking: dict[str, Grid] = {}
        self._narrow: dict[str, str] = {}
        self._before: tuple[str, nn.Module, torch.Size] | None = None

    def layers(self) -> tuple[str, ...]:
        """The last two layers that shrink a map of 4 to 16 pixels per cell.

        Their inputs represent colours, textures and parts rather than classes. A network may have one such layer or
        none.
        """
        return tuple(name for name, grid in self._shrinking.items() if 4 <= grid.stride <= 16)[-2:]

    def narrow_layers(self) -> tuple[str, ...]:
        """Layers whose inputs hold the same features as those of `layers` in fewer channels, before a 1x1 convolution.

        Inverted bottlenecks (MobileNetV2, EfficientNet, …) shrink a map inside a block, where it has six times as many
        channels as between blocks.
        """
        return tuple(self._narrow.get(name, name) for name in self.layers())

    @contextmanager
    def watching(self, net: nn.Module) -> Iterator[None]:
        """Watch the layers of a network while the block runs."""
        layers = [(name, module) for name, module in net.named_modules() if isinstance(module, _WINDOWED)]
        hooks = [layer.register_forward_hook(partial(self._see, name)) for name, layer in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, name: str, layer: nn.Module, inputs: Inputs, output: torch.Tensor) -> None:
        before, self._before = self._before, (name, layer, output.shape)
        if isinstance(layer, Downsampling):
            follow(self._tracer, layer, inputs, output)
        cells = output.shape[-1]
        if name not in self._dilated and not 1 < cells < 0.75 * inputs[0].shape[-1]:
            return
        grid = place(self._tracer, inputs[0], self._images).grid
        if grid is None:
            return
        # Other branches of the same block shrink the same map again.
        again = any(grid.stride == before.stride for before in self._shrinking.values())
        if name in self._dilated or not again:
            self._shrinking[name] = grid
            if before is not None and _widens(before[1], before[2], inputs[0].shape):
                self._narrow[name] = before[0]


def _widens(layer: nn.Module, made: torch.Size, read: torch.Size) -> bool:
    """Whether the previous layer made the input of the next one cell by cell from fewer channels."""
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or layer.stride != (1, 1):
        return False
    return made == read and layer.in_channels < layer.out_channels


class TapReader:
    """Reads the inputs of a backbone's taps and of its decoder's layers (`Backbone.taps`, `Backbone.pyramid`).

    Each thread reads its own run. The hooks stay on the backbone until `remove` is called, so pass a copy.

    >>> from wsl.models import create_backbone
    >>> backbone = create_backbone("resnet18", "none")
    >>> with TapReader(backbone).reading() as features:
    ...     _ = backbone(torch.zeros(1, 3, 64, 64))
    >>> [tuple(features[name].shape) for name in backbone.taps]
    [(1, 128, 8, 8), (1, 256, 4, 4)]
    """

    def __init__(self, backbone: Backbone) -> None:
        self._reading = threading.local()
        self._hooks = [
            backbone.net.get_submodule(layer).register_forward_pre_hook(partial(self._read, layer))
            for layer in {*backbone.taps, *backbone.pyramid}
        ]
        self._hooks.append(backbone.register_forward_hook(self._read_map))
        self._hooks += [
            module.register_forward_hook(self._follow)
            for module in backbone.net.modules()
            if isinstance(module, Downsampling)
        ]

    @contextmanager
    def reading(self, tracer: PositionTracer | None = None) -> Iterator[dict[str, torch.Tensor]]:
        """The features by layer name, (N, C, h, w) each, available once the network has run inside the block.

        The backbone's own map has the key `MAP`. `tracer` traces positions during the run.
        """
        features: dict[str, torch.Tensor] = {}
        self._reading.features, self._reading.tracer = features, tracer
        try:
            yield features
        finally:
            del self._reading.features, self._reading.tracer

    def remove(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()

    def _follow(self, layer: Downsampling, inputs: Inputs, output: torch.Tensor) -> None:
        tracer: PositionTracer | None = getattr(self._reading, "tracer", None)
        if tracer is not None:
            follow(tracer, layer, inputs, output)

    def _read(self, name: str, layer: nn.Module, inputs: Inputs) -> None:
        features: dict[str, torch.Tensor] | None = getattr(self._reading, "features", None)
        if features is not None:
            features[name] = inputs[0]

    def _read_map(self, backbone: nn.Module, inputs: Inputs, output: torch.Tensor) -> None:
        self._read(MAP, backbone, (output,))
