"""Layers that erase features in training, inserted into a backbone by spec string; inactive in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, fx, nn

from heads._specified import Specified
from heads.spec import create
from wsl.errors import UserError
from wsl.models.backbone import Backbone
from wsl.models.create_head import user_errors


class ADL(Specified):
    """Attention-based dropout layer: hides the strongest locations, or weights the features by their strength.

    The strength of a location is the mean over its channels. With probability ``drop``, drawn once for each batch,
    locations whose strength is at least ``gamma`` times the maximum of the image are set to 0; otherwise all locations
    are multiplied by the sigmoid of their strength. In evaluation the features are returned unchanged.

    Shape:
        (N, C, h, w) to (N, C, h, w).

    Source: Choe & Shim, Attention-based Dropout Layer for Weakly Supervised Object Localization, CVPR 2019.

    >>> layer, features = ADL(drop=1, gamma=0.9), torch.tensor([[[[1.0, 2.0, 4.0]]]])
    >>> layer(features).flatten().tolist(), layer.eval()(features).flatten().tolist()
    ([1.0, 2.0, 0.0], [1.0, 2.0, 4.0])
    """

    def __init__(self, drop: float = 0.75, gamma: float = 0.9) -> None:
        super().__init__()
        if not isinstance(drop, int | float) or not 0 <= drop <= 1:
            raise UserError(f"drop is {drop}, expected a probability in [0, 1]")
        if not isinstance(gamma, int | float) or not 0 < gamma <= 1:
            raise UserError(f"gamma is {gamma}, expected a fraction of the maximum in (0, 1]: try gamma=0.9")
        self.drop, self.gamma = drop, gamma

    def forward(self, features: Tensor) -> Tensor:
        """Features with hidden or weighted locations."""
        if not self.training:
            return features
        strength = features.mean(1, keepdim=True)
        # Drawn on the host, so that it does not wait for the device.
        if torch.rand(()).item() < self.drop:
            stays = strength < self.gamma * strength.amax((2, 3), keepdim=True)
            return features * stays.detach().to(features.dtype)
        return features * strength.sigmoid()


ERASERS: Mapping[str, type[ADL]] = MappingProxyType({"adl": ADL})
"""The erasing layers by name."""


def create_eraser(spec: str) -> ADL:
    """Create the erasing layer that a spec string names.

    Raises:
        UserError: the name or an argument is unknown, or a value is out of range.

    >>> create_eraser("adl")
    adl(drop=0.75, gamma=0.9)
    """
    with user_errors():
        return create(spec, ERASERS, "eraser")


def insert_eraser(backbone: Backbone, spec: str) -> None:
    """Insert erasing layers before the layers of the backbone's pyramid, and after its map.

    The layers have no weights, so checkpoints are the same as without them.

    Raises:
        UserError: the name or an argument is unknown, or a value is out of range.

    >>> from wsl.models import create_backbone
    >>> backbone = create_backbone("resnet18", "none")
    >>> insert_eraser(backbone, "adl(drop=1)")
    >>> [name for name, module in backbone.named_modules() if isinstance(module, ADL)]
    ['net.eraser_0', 'net.eraser_1', 'eraser']
    """
    layers = [create_eraser(spec) for _ in range(len(backbone.pyramid) + 1)]
    backbone.add_module("eraser", layers[-1])
    backbone.register_forward_hook(lambda module, inputs, output: layers[-1](output))
    net = backbone.net
    if isinstance(net, fx.GraphModule):
        _insert_nodes(net, dict(zip(backbone.pyramid, layers, strict=False)))
        return
    for place, (name, layer) in enumerate(zip(backbone.pyramid, layers, strict=False)):
        backbone.add_module(f"eraser_{place}", layer)
        net.get_submodule(name).register_forward_pre_hook(_before(layer))


def _before(layer: nn.Module) -> Any:
    return lambda module, inputs: (layer(inputs[0]), *inputs[1:])


def _insert_nodes(net: fx.GraphModule, layers: Mapping[str, nn.Module]) -> None:
    """Insert layers into a traced network, each after the input of the named layer, for all readers of that input."""
    for place, (name, layer) in enumerate(layers.items()):
        source = next(node.args[0] for node in net.graph.nodes if node.op == "call_module" and node.target == name)
        assert isinstance(source, fx.Node)
        net.add_submodule(f"eraser_{place}", layer)
        with net.graph.inserting_after(source):
            erased = net.graph.call_module(f"eraser_{place}", (source,))
        source.replace_all_uses_with(erased, delete_user_cb=lambda user, erased=erased: user is not erased)  # type: ignore[misc]
    net.recompile()
