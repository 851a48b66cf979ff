"""A backbone's features from halfway, caught while it runs."""

from __future__ import annotations

import threading

import torch
from torch import nn

from wsl.errors import UserError
from wsl.models.backbone import Backbone


class MidwayFeatures:
    """What a backbone sees at 4 or 8 pixels a cell: edges, colours, textures, and not yet classes.

    They are the input of the last layer that shrinks a map that fine; ``grid`` says where their cells look.

    Raises:
        UserError: the backbone has no such layer.

    >>> from wsl.models import create_backbone
    >>> backbone = create_backbone("resnet18", "none")
    >>> midway = MidwayFeatures(backbone)
    >>> backbone(torch.zeros(1, 3, 64, 64)).shape, midway.take().shape
    (torch.Size([1, 512, 2, 2]), torch.Size([1, 128, 8, 8]))
    """

    def __init__(self, backbone: Backbone) -> None:
        if backbone.midway is None:
            raise UserError(
                f"{backbone.name or 'this backbone'} has no convolution or pooling that shrinks a map of 4 or 8 pixels "
                "a cell, so its maps cannot be refined: leave --refine out, or take a convolutional backbone"
            )
        self.grid = backbone.midway.grid
        self._caught = threading.local()  # batches run side by side
        backbone.net.get_submodule(backbone.midway.layer).register_forward_pre_hook(self._catch)

    def take(self) -> torch.Tensor:
        """The features of this thread's last batch, (N, C, h, w); they are let go of."""
        features: torch.Tensor = self._caught.features
        del self._caught.features
        return features

    def _catch(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._caught.features = inputs[0]
