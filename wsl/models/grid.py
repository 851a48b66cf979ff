"""Where in the image the cells of a feature map look."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from heads.downsampling import Downsampling

_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, Downsampling)


class Grid(NamedTuple):
    """Centres of a map's cells in pixels of the network's input: cell i lies at ``start + i * stride``.

    A resizing that takes the cells for equal parts of the image puts them at ``stride / 2 + i * stride``. Networks of
    padded odd kernels (ResNet, MobileNet, …) look at ``0.5 + i * stride`` instead: almost half a cell to the left
    and above. Patches and even kernels without padding (ViT, ConvNeXt, VGG) lie where the parts do.
    """

    stride: float
    start: float


class Tap(NamedTuple):
    """A layer whose input is read as intermediate features, and the grid of that input."""

    layer: str
    grid: Grid


class GridTracer:
    """Follows the size of the signal through the windowed layers of one forward pass.

    Each layer that changes the size moves the centres by its kernel and padding. Layers beside it, on another branch
    of the same block, see the size from before and agree with it.
    """

    def __init__(self, width: int, dilated: Collection[str] = ()) -> None:
        self._width, self._dilated = width, dilated
        self._stride, self._start = 1.0, 0.5
        self._shrinking: list[Tap] = []

    def grid(self, features: torch.Tensor) -> Grid | None:
        """The grid of the last map; None where something else than windowed layers changed the size."""
        return Grid(self._stride, self._start) if features.shape[-1] == self._width else None

    def taps(self) -> tuple[Tap, ...]:
        """The last two layers that shrink a map of 4 to 16 pixels a cell (or did before they were dilated).

        Their inputs show colours, textures and parts, and not yet classes. A network may have one such layer or none.
        """
        return tuple(tap for tap in self._shrinking if 4 <= tap.grid.stride <= 16)[-2:]

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

    def _see(self, name: str, layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if inputs[0].shape[-1] != self._width:
            return
        if name in self._dilated:
            self._shrinking.append(Tap(name, Grid(self._stride, self._start)))
        if output.shape[-1] == self._width:
            return
        self._shrinking.append(Tap(name, Grid(self._stride, self._start)))
        kernel, stride, padding = (_last(getattr(layer, name)) for name in ("kernel_size", "stride", "padding"))
        dilation = _last(getattr(layer, "dilation", 1))
        self._start += ((kernel - 1) * dilation / 2 - padding) * self._stride
        self._stride *= stride
        self._width = output.shape[-1]


def _last(setting: Any) -> int:
    """A layer's setting along the width."""
    return int(setting[-1] if isinstance(setting, tuple) else setting)
