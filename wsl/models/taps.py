"""Intermediate features of a backbone, caught while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from wsl.models.backbone import Backbone


class TapReader:
    """Reads the inputs of a backbone's taps (`Backbone.taps`) while a block runs; each thread reads its own.

    The hooks stay on the backbone: give it a copy that is yours.

    >>> from wsl.models import create_backbone
    >>> backbone = create_backbone("resnet18", "none")
    >>> with TapReader(backbone).reading() as features:
    ...     _ = backbone(torch.zeros(1, 3, 64, 64))
    >>> [tuple(layer.shape) for layer in features]
    [(1, 128, 8, 8), (1, 256, 4, 4)]
    """

    def __init__(self, backbone: Backbone) -> None:
        self._reading = threading.local()
        for number, tap in enumerate(backbone.taps):
            backbone.net.get_submodule(tap.layer).register_forward_pre_hook(partial(self._read, number))

    @contextmanager
    def reading(self) -> Iterator[list[torch.Tensor]]:
        """A list that holds the features, (N, C, h, w) each, once the network has run in the block."""
        features: list[torch.Tensor] = []
        self._reading.features = features
        try:
            yield features
        finally:
            del self._reading.features

    def _read(self, number: int, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        features: list[torch.Tensor] | None = getattr(self._reading, "features", None)
        if features is not None:
            features.insert(number, inputs[0])
