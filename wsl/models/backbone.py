"""Backbones by name: images to a feature map, from torchvision, timm or our own small network."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torchvision import models as torchvision_models
from torchvision.models import VisionTransformer

from wsl.checkpoints import HF
from wsl.errors import UserError
from wsl.models.classifiers import TINY, create_classifier
from wsl.models.dilation import dilate
from wsl.models.feature_map import choose_map, read_map
from wsl.models.graph import conv_classifier, cut, find_chain
from wsl.models.grid import Grid, place
from wsl.models.layer_output import LayerOutput
from wsl.models.position_tracer import PositionTracer
from wsl.models.taps import TapFinder, TapReader
from wsl.models.timm_models import TIMM, TimmFeatures
from wsl.models.tiny import TinyNet
from wsl.models.weights import first_line

# Every network that takes several sizes takes this one, also those with windows of a fixed one.
_PROBE = 224
# What networks raise at a size that is not theirs.
_REFUSALS = (AssertionError, RuntimeError, ValueError, IndexError, TypeError)


class Grids(NamedTuple):
    """Where the cells of a backbone's map, its taps and its pyramid lie; None stands for equal parts of the image."""

    map: Grid | None
    taps: tuple[Grid | None, ...] = ()
    pyramid: tuple[Grid | None, ...] = ()


class Backbone(nn.Module):
    """A network that gives feature maps, and what a head needs to know of it.

    `net` gives the maps as it likes: channels first or last, as tokens, alone or as one of several tensors; then the
    coarsest map is taken. ``taps`` are the layers whose inputs are intermediate features, and ``pyramid`` those whose
    inputs hold the same in as few channels as the network passes it on, for a `MapDecoder`.

    Shape:
        (N, 3, H, W) to (N, ``out_channels``, about H / ``stride``, about W / ``stride``).

    Raises:
        UserError: no feature map, or several alike.

    >>> create_backbone("tinynet", weights="none").out_channels
    128
    """

    def __init__(self, net: nn.Module, name: str, dilated: Collection[str] = ()) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.dilated = tuple(dilated)
        own = int(getattr(net, "side", _PROBE))
        try:
            self._look(_PROBE, dilated)
        except UserError:
            if own == _PROBE:
                raise
            self._look(own, dilated)
        self._grids: dict[tuple[int, int], Grids] = {}

    def _look(self, side: int, dilated: Collection[str]) -> None:
        """Learn from one image of a size what the network gives."""
        name, images = self.name or type(self.net).__name__, zeros(self.net, (side, side))
        tracer = PositionTracer(images)
        finder = TapFinder(tracer, images, dilated)
        # A traced graph prints itself when it fails.
        with evaluating(self.net), _plain_mode(), contextlib.redirect_stderr(None), finder.watching(self.net), tracer:
            output = _first_run(self.net, images, name)
        self._reading = choose_map(output, lambda tensor: place(tracer, tensor, images), name)
        self.side, self.taps, self.pyramid = side, finder.layers(), finder.narrow_layers()
        features = read_map(output, self._reading, (side, side))
        self.out_channels = int(features.shape[1])
        self.stride = _stride(side, features.shape[-1])

    @property
    def prefix(self) -> int:
        """How many class and register tokens come before the patches; 0 where the network gives none."""
        return self._reading.prefix

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps of a batch of normalised images.

        Raises:
            UserError: the network does not take images of this size.
        """
        size = (images.shape[-2], images.shape[-1])
        try:
            output = self.net(images)
        except _REFUSALS as error:
            if isinstance(error, (UserError, torch.OutOfMemoryError)) or size == (self.side, self.side):
                raise
            own = getattr(self.net, "side", self.side)
            raise UserError(
                f"{self.name or type(self.net).__name__} does not take images of {size[0]} x {size[1]} "
                f"({first_line(error)}): expected another size, such as {own} x {own}"
            ) from error
        return read_map(output, self._reading, size)

    def grids(self, size: tuple[int, int], reader: TapReader | None = None) -> Grids:
        """Where the cells look in images of (height, width), which may depend on it: padding does, for one.

        The answer is found by one forward pass of zeros and kept. While other threads run the network give the
        `reader` that already is on it.

        >>> create_backbone("resnet18", "none").grids((64, 64)).map
        Grid(stride=32.0, start=0.5)
        """
        known = self._grids.get(size)
        if known is None:
            with torch.inference_mode(False):  # in which the tracer would see other operations
                known = self._grids[size] = self._trace(size, reader)
        return known

    def level_shapes(self, size: tuple[int, int] | None = None) -> list[tuple[int, int, int]]:
        """The shapes (C, h, w) of what a `MapDecoder` reads: those of the pyramid's layers, and of the map.

        >>> create_backbone("mobilenet_v2", "none").level_shapes((64, 64))
        [(32, 8, 8), (96, 4, 4), (1280, 2, 2)]
        """
        reader = TapReader(self)
        try:
            with evaluating(self.net), _plain_mode(), reader.reading() as read:
                features = self.forward(zeros(self.net, size or (self.side, self.side)))
        finally:
            reader.remove()
        levels = [*(read[name] for name in self.pyramid), features]
        return [(level.shape[1], level.shape[2], level.shape[3]) for level in levels]

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU without any."""
        return next((parameter.device for parameter in self.net.parameters()), torch.device("cpu"))

    def _trace(self, size: tuple[int, int], reader: TapReader | None) -> Grids:
        images = zeros(self.net, size)
        tracer = PositionTracer(images)
        own = reader or TapReader(self)
        try:
            with evaluating(self.net), _plain_mode(), own.reading(tracer) as read, tracer:
                features = self.forward(images)  # hooks on this module are its caller's
        finally:
            if reader is None:
                own.remove()
        shown, taps, pyramid = (
            tuple(place(tracer, tensor, images).grid for tensor in some)
            for some in ([features], [read[name] for name in self.taps], [read[name] for name in self.pyramid])
        )
        return Grids(shown[0], taps, pyramid)


def _first_run(net: nn.Module, images: torch.Tensor, name: str) -> Any:
    try:
        return net(images)
    except _REFUSALS as error:
        if isinstance(net, fx.GraphModule):  # a part of a classifier, whose strides were changed
            raise
        raise UserError(
            f"{name} does not take an image of 3 channels and {images.shape[-2]} x {images.shape[-1]} pixels "
            f"({first_line(error)}): expected a backbone that does, or a module around it that prepares such images"
        ) from error


@contextlib.contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode while the block runs; afterwards every module is in the mode that it was in."""
    training = [module for module in net.modules() if module.training]
    if training:
        net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def _plain_mode() -> Iterator[None]:
    """Neither gradients nor inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def zeros(net: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """An image that the network takes as it is now: on its device, and in its arithmetic where nothing converts.

    >>> zeros(nn.Conv2d(3, 4, 1).half(), (2, 2)).dtype
    torch.float16
    """
    weight = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))
    dtype = torch.float32 if torch.is_autocast_enabled(weight.device.type) else weight.dtype
    with torch.inference_mode(False):
        return torch.zeros(1, 3, *size, device=weight.device, dtype=dtype)


def _stride(image: int, side: int) -> int:
    """Image pixels per map cell; without padding a map is somewhat smaller than its stride says."""
    return image // side if image % side == 0 else 2 ** round(math.log2(image / side))


def list_backbones() -> list[str]:
    """Names that `create_backbone` takes; with the timm extra also ``timm/`` and any name of timm.

    >>> "resnet50" in list_backbones()
    True
    """
    return [TINY, *torchvision_models.list_models(module=torchvision_models)]


def create_backbone(name: str, weights: str = "DEFAULT", output_stride: int | None = None) -> Backbone:
    """A backbone by name: a torchvision classifier up to its pooling or last tokens, ``timm/NAME``, or ``tinynet``.

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
    if name.startswith(HF):
        raise UserError(f"{name} is a whole classifier and no backbone: expected a torchvision name or timm/NAME")
    net = create_classifier(name, weights).net
    if isinstance(net, VisionTransformer):
        return _encoder(net, name, output_stride)
    chain = find_chain(net, name)
    # SqueezeNet's last map already holds its own classes; a new head wants the features below them.
    classifier = None if chain.significant() else conv_classifier(chain)
    features = chain.features if classifier is None else classifier.features
    return cut_backbone(net, features, name, output_stride)


def _encoder(net: VisionTransformer, name: str, output_stride: int | None) -> Backbone:
    """A vision transformer of torchvision up to its last tokens."""
    if output_stride not in (None, net.patch_size):
        raise UserError(f"output stride {output_stride} of {name}: its own is {net.patch_size} and cannot be changed")
    net.heads = nn.Identity()  # weights without a use would hinder training in processes
    return Backbone(LayerOutput(net, "encoder", side=net.image_size), name)


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
