"""A backbone's features from halfway, caught while it runs."""

from __future__ import annotations

import threading
from functools import partial

import torch
from torch import nn

from wsl.errors import UserError
from wsl.models.backbone import Backbone


class MidwayFeatures:
    """What a backbone sees at about 8 and 16 pixels a cell: colours, textures, parts, and not yet classes.

    They are the inputs of the last two layers that shrink a map that fine; ``grids`` says where their cells look.

    Raises:
        UserError: the backbone has no such layer.

    >>> from wsl.models import create_backbone
    >>> backbone = create_backbone("resnet18", "none")
    >>> midway = MidwayFeatures(backbone)
    >>> scores = backbone(torch.zeros(1, 3, 64, 64))
    >>> [tuple(features.shape) for features in midway.take()]
    [(1, 128, 8, 8), (1, 256, 4, 4)]
    """

    def __init__(self, backbone: Backbone) -> None:
        if not backbone.midway:
            raise UserError(
                f"{backbone.name or 'this backbone'} has no convolution or pooling that shrinks a map of 4 to 16 "
                "pixels a cell, so its maps cannot be refined: leave --refine out, or take a convolutional backbone"
            )
        self.grids = tuple(midway.grid for midway in backbone.midway)
        self._caught = threading.local()  # batches run side by side
        for number, midway in enumerate(backbone.midway):
            layer = backbone.net.get_submodule(midway.layer)
            layer.register_forward_pre_hook(partial(self._catch, number))

    def take(self) -> tuple[torch.Tensor, ...]:
        """The features of this thread's last batch, (N, C, h, w) each; they are let go of."""
        features = tuple(getattr(self._caught, str(number)) for number in range(len(self.grids)))
        self._caught.__dict__.clear()
        return features

    def _catch(self, number: int, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        setattr(self._caught, str(number), inputs[0])
