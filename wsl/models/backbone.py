"""Backbones by name: images to a feature map, from torchvision, timm or the small TinyNet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torchvision import models as torchvision_models
from torchvision.models import VisionTransformer

from wsl.checkpoints import HF
from wsl.errors import UserError, first_line
from wsl.models.classifiers import TINY, create_classifier
from wsl.models.dilation import dilate
from wsl.models.feature_map import choose_map, read_map
from wsl.models.graph import conv_classifier, cut, find_chain
from wsl.models.grid import Grid, place
from wsl.models.layer_output import LayerOutput
from wsl.models.position_tracer import PositionTracer
from wsl.models.taps import MAP, TapFinder, TapReader
from wsl.models.timm_models import TIMM, TimmFeatures
from wsl.models.tiny import TinyNet

# Every network that takes several sizes takes this one, including those with windows of a fixed size.
_PROBE = 224
# The exceptions that networks raise for images of an unsupported size.
_REFUSALS = (AssertionError, RuntimeError, ValueError, IndexError, TypeError)


class Grids(NamedTuple):
    """The positions of the cells of a backbone's map, taps and pyramid; None means equal parts of the image."""

    map: Grid | None
    taps: tuple[Grid | None, ...] = ()
    pyramid: tuple[Grid | None, ...] = ()


class Backbone(nn.Module):
    """A network that returns feature maps, and the properties of it that a head needs.

    `net` may give maps in any layout: channels first or last, as tokens, alone or among several tensors, of which the
    coarsest map is taken. ``taps`` are the layers whose inputs are intermediate features, and ``pyramid`` those whose
    inputs hold the same information in fewer channels, for a `MapDecoder`.

    Shape:
        (N, 3, H, W) to (N, ``out_channels``, about H / ``stride``, about W / ``stride``).

    Raises:
        UserError: there is no feature map, or several of the same size.

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
        """The number of class and register tokens before the patches; 0 if the network gives none."""
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
        """The positions of the cells in images of (height, width), which may depend on the size, as with padding.

        They are found by one forward pass of zeros and cached. While other threads run the network, pass the `reader`
        that is already attached to it.

        >>> create_backbone("resnet18", "none").grids((64, 64)).map
        Grid(stride=32.0, start=0.5)
        """
        known = self._grids.get(size)
        if known is None:
            with torch.inference_mode(False):  # in inference mode the tracer would see other operations
                known = self._grids[size] = self._trace(size, reader)
        return known

    def level_shapes(
        self, size: tuple[int, int] | None = None, layers: Sequence[str] | None = None
    ) -> list[tuple[int, int, int]]:
        """The shapes (C, h, w) of the inputs of some layers, by default of those that a `MapDecoder` reads.

        >>> create_backbone("mobilenet_v2", "none").level_shapes((64, 64))
        [(32, 8, 8), (96, 4, 4), (1280, 2, 2)]
        """
        reader = TapReader(self)
        try:
            with evaluating(self.net), _plain_mode(), reader.reading() as read:
                features = self.forward(zeros(self.net, size or (self.side, self.side)))
        finally:
            reader.remove()
        names = [*self.pyramid, MAP] if layers is None else layers
        levels = [features if name == MAP else read[name] for name in names]
        return [(level.shape[1], level.shape[2], level.shape[3]) for level in levels]

    @property
    def device(self) -> torch.device:
        """The device of the weights; the CPU if there are none."""
        return next((parameter.device for parameter in self.net.parameters()), torch.device("cpu"))

    def _trace(self, size: tuple[int, int], reader: TapReader | None) -> Grids:
        images = zeros(self.net, size)
        tracer = PositionTracer(images)
        own = reader or TapReader(self)
        try:
            with evaluating(self.net), _plain_mode(), own.reading(tracer) as read, tracer:
                features = self.forward(images)  # not self(images), which would run the caller's hooks
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
    """Evaluation mode inside the block; afterwards the mode of every module is restored."""
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
    """Disable both gradients and inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def zeros(net: nn.Module, size: tuple[int, int]) -> torch.Tensor:
    """An image of zeros on the network's device, in the dtype of its weights unless autocast converts.

    >>> zeros(nn.Conv2d(3, 4, 1).half(), (2, 2)).dtype
    torch.float16
    """
    weight = next((p for p in net.parameters() if p.is_floating_point()), torch.empty(0))
    dtype = torch.float32 if torch.is_autocast_enabled(weight.device.type) else weight.dtype
    with torch.inference_mode(False):
        return torch.zeros(1, 3, *size, device=weight.device, dtype=dtype)


def _stride(image: int, side: int) -> int:
    """Image pixels per map cell; without padding a map is somewhat smaller than its stride implies."""
    return image // side if image % side == 0 else 2 ** round(math.log2(image / side))


def list_backbones() -> list[str]:
    """The names that `create_backbone` accepts, besides ``timm/NAME`` with the extra timm.

    >>> "resnet50" in list_backbones()
    True
    """
    return [TINY, *torchvision_models.list_models(module=torchvision_models)]


def create_backbone(name: str, weights: str = "DEFAULT", output_stride: int | None = None) -> Backbone:
    """A backbone by name: a torchvision classifier up to its pooling or last tokens, ``timm/NAME``, or ``tinynet``.

    `weights` is ``DEFAULT`` or another name known to the library (downloaded on first use), the path of a local file
    of the whole classifier, or ``none``. `output_stride` dilates the last stages for finer maps.

    Raises:
        UserError: the name or weights are unknown, or the network has no feature map or cannot be dilated.

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
        raise UserError(f"{name} is a whole classifier, not a backbone: expected a torchvision name or timm/NAME")
    net = create_classifier(name, weights).net
    if isinstance(net, VisionTransformer):
        return _encoder(net, name, output_stride)
    chain = find_chain(net, name)
    # SqueezeNet's last map holds its class scores; a new head needs the features below.
    classifier = None if chain.significant() else conv_classifier(chain)
    features = chain.features if classifier is None else classifier.features
    return cut_backbone(net, features, name, output_stride)


def _encoder(net: VisionTransformer, name: str, output_stride: int | None) -> Backbone:
    """A vision transformer of torchvision up to its last tokens."""
    if output_stride not in (None, net.patch_size):
        raise UserError(f"output stride {output_stride} of {name}: its own is {net.patch_size} and cannot be changed")
    net.heads = nn.Identity()  # unused weights would break distributed training
    return Backbone(LayerOutput(net, "encoder", side=net.image_size), name)


def cut_backbone(net: nn.Module, features: fx.Node, name: str, output_stride: int | None = None) -> Backbone:
    """The part of a classifier up to a node of its graph, dilated in place if an output stride is given."""
    body = cut(net, features)
    if output_stride is None:
        return Backbone(body, name)
    dilated = dilate(body, output_stride, name)
    try:
        backbone = Backbone(body, name, dilated)
    except RuntimeError as error:  # a stride in the forward code rather than in a layer
        raise UserError(f"{name} cannot be dilated to output stride {output_stride}: take another backbone") from error
    if backbone.stride != output_stride:
        raise UserError(f"output stride {output_stride} of {name}: its own is {backbone.stride} and cannot be changed")
    return backbone
