"""A layer of a network as a network of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from wsl.errors import UserError


class LayerOutput(nn.Module):
    """The output of a named layer, for networks that cannot be cut: the whole network runs.

    `forward` calls a network that takes more than images, and `side` is the side of images that it accepts.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    >>> LayerOutput(net, "0")(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 4, 6, 6])
    """

    def __init__(
        self,
        net: nn.Module,
        layer: str,
        forward: Callable[[Any, torch.Tensor], Any] | None = None,
        *,
        side: int | None = None,
    ) -> None:
        super().__init__()
        self.net, self.layer, self.side = net, layer, side
        self._forward = forward

    @property
    def called_otherwise(self) -> bool:
        """Whether a custom function calls the network."""
        return self._forward is not None

    def forward(self, images: torch.Tensor) -> Any:
        """The layer's output for a batch of images."""
        outputs: list[Any] = []
        thread = threading.get_ident()

        def see(module: nn.Module, inputs: Any, output: Any) -> None:
            if threading.get_ident() == thread:  # other threads that run the same network have their own hooks
                outputs.append(output)

        hook = self.net.get_submodule(self.layer).register_forward_hook(see)
        try:
            self.net(images) if self._forward is None else self._forward(self.net, images)
        finally:
            hook.remove()
        if not outputs:
            raise UserError(f"layer {self.layer!r} did not run: expected one that every image goes through")
        return outputs[-1]
