"""Backbones by name: images to a feature map, from torchvision, timm or our own small network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection

import torch
from torch import fx, nn
from torchvision import models as torchvision_models

from wsl.errors import UserError
from wsl.models.classifiers import TINY, create_classifier
from wsl.models.dilation import dilate
from wsl.models.graph import conv_classifier, cut, find_chain
from wsl.models.grid import GridTracer
from wsl.models.timm_models import TIMM, TimmFeatures
from wsl.models.tiny import TinyNet

# Every classifier takes this size, also those with windows of a fixed one.
_PROBE = 224


class Backbone(nn.Module):
    """A network that gives feature maps, and what a head needs to know of it.

    Shape:
        (N, 3, H, W) to (N, ``out_channels``, about H / ``stride``, about W / ``stride``).

    >>> create_backbone("tinynet", weights="none").out_channels
    128
    """

    def __init__(self, net: nn.Module, name: str, dilated: Collection[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.name = name
        tracer = GridTracer(_PROBE, dilated)
        # A traced graph prints itself when it fails.
        with torch.no_grad(), contextlib.redirect_stderr(None), tracer.watching(net):
            features = self.eval()(torch.zeros(1, 3, _PROBE, _PROBE))
        self.train(net.training)
        self.out_channels = int(features.shape[1])
        self.stride = _stride(features.shape[-1])
        self.grid = tracer.grid(features)
        self.taps = tracer.taps()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps of a batch of normalised images."""
        features: torch.Tensor = self.net(images)
        return features


def _stride(side: int) -> int:
    """Image pixels per map cell; without padding a map is somewhat smaller than its stride says."""
    return _PROBE // side if _PROBE % side == 0 else 2 ** round(math.log2(_PROBE / side))


def list_backbones() -> list[str]:
    """Names that `create_backbone` takes; with the timm extra also ``timm/`` and any name of timm.

    >>> "resnet50" in list_backbones()
    True
    """
    return [TINY, *torchvision_models.list_models(module=torchvision_models)]


def create_backbone(name: str, weights: str = "DEFAULT", output_stride: int | None = None) -> Backbone:
    """A backbone by name: a torchvision classifier up to its pooling, ``timm/NAME``, or ``tinynet``.

    `weights` is ``DEFAULT`` or a name that the library knows (downloaded by it on first use), the path of a local
    file of the whole classifier, or ``none``. `output_stride` dilates the last stages for finer maps.

    Raises:
        UserError: unknown name or weights, a network without a feature map, or one that cannot be dilated.

    >>> create_backbone("resnet18", weights="none", output_stride=16).stride
    16
    """
    if name == TINY:
        if weights not in ("none", "DEFAULT") or output_stride not in (None, 8):
            raise UserError("tinynet has no pretrained weights and output stride 8: expected weights none")
        return Backbone(TinyNet(), name)
    if name.startswith(TIMM):
        return Backbone(TimmFeatures(name.removeprefix(TIMM), weights, output_stride), name)
    net = create_classifier(name, weights).net
    chain = find_chain(net, name)
    # SqueezeNet's last map already holds its own classes; a new head wants the features below them.
    classifier = None if chain.significant() else conv_classifier(chain)
    features = chain.features if classifier is None else classifier.features
    return cut_backbone(net, features, name, output_stride)


def cut_backbone(net: nn.Module, features: fx.Node, name: str, output_stride: int | None = None) -> Backbone:
    """The part of a classifier up to a node of its graph, dilated in place when asked."""
    body = cut(net, features)
    if output_stride is None:
        return Backbone(body, name)
    dilated = dilate(body, output_stride, name)
    try:
        backbone = Backbone(body, name, dilated)
    except RuntimeError as error:  # a stride outside the layers, in the code itself
        raise UserError(f"{name} cannot be dilated to output stride {output_stride}: take another backbone") from error
    if backbone.stride != output_stride:
        raise UserError(f"output stride {output_stride} of {name}: its own is {backbone.stride} and cannot be changed")
    return backbone
