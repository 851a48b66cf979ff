"""The model: a backbone, and a head that gives class scores together with class maps."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from heads import HeadOutput, MapClassifier, VectorClassifier, names_encoder, replace_pooling
from wsl.checkpoints import Recipe
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models.backbone import Backbone, create_backbone, cut_backbone
from wsl.models.classifiers import create_classifier
from wsl.models.gradient_head import GradientHead
from wsl.models.graph import Chain, ConvClassifier, conv_classifier, find_chain
from wsl.models.grid import Grid
from wsl.models.inference import InferenceLocalizer
from wsl.models.protocol import to_probabilities
from wsl.models.timm_models import refuse_place


class RectifiedMapClassifier(MapClassifier):
    """A head whose maps pass a ReLU before they are pooled, as SqueezeNet's classifier does."""

    rectified = True

    def class_maps(self, features: torch.Tensor) -> torch.Tensor:
        """Rectified maps."""
        return torch.relu(super().class_maps(features))


class Localizer(nn.Module):
    """A backbone and a pooling head: images to class scores and class activation maps.

    `backbone` is a torchvision name, ``timm/NAME``, ``tinynet``, or a module that gives feature maps. `pooling` is
    a spec string of `heads.list_poolings`, or of `heads.list_encoders`: then the maps are gradient maps, in
    evaluation, and empty in training. `downsampling` is one of `heads.list_downsamplings` and takes the place of the
    backbone's max and average pools (`heads.replace_pooling`); `neck` is one of `heads.list_necks`, between backbone
    and head. `weights` are the backbone's: ``DEFAULT``, a local
    file, or ``none``.
    `multi_label` says whether scores become probabilities by a sigmoid each or by one softmax.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w).

    Raises:
        UserError: an unknown name, weights that do not fit, a backbone without feature maps.

    >>> model = Localizer("tinynet", classes=["cat", "dog"], pooling="lse(beta=4)", weights="none").eval()
    >>> scores, maps = model(torch.zeros(1, 3, 64, 64))
    >>> scores.shape, maps.shape
    (torch.Size([1, 2]), torch.Size([1, 2, 8, 8]))
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet50",
        num_classes: int | None = None,
        *,
        pooling: str = "gap",
        neck: str | None = None,
        maps_per_class: int = 1,
        weights: str | None = "DEFAULT",
        output_stride: int | None = None,
        downsampling: str | None = None,
        classes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
        multi_label: bool = True,
    ) -> None:
        super().__init__()
        self._ready: dict[tuple[torch.device, torch.dtype], tuple[tuple[object, ...], InferenceLocalizer]] = {}
        self._lock = threading.Lock()
        classes = _class_names(classes, num_classes)
        if isinstance(backbone, str):
            backbone = create_backbone(backbone, weights or "none", output_stride)
        elif not isinstance(backbone, Backbone):
            backbone = Backbone(backbone, "")
        if downsampling is not None:
            backbone = _downsample(backbone, downsampling)
        self.backbone = backbone
        self.head: MapClassifier | GradientHead = _head(
            backbone.out_channels, len(classes), pooling, neck, maps_per_class
        )
        self.recipe = Recipe(
            backbone=backbone.name,
            pooling=pooling,
            classes=classes,
            preprocessing=preprocessing or Preprocessing(),
            neck=neck,
            maps_per_class=maps_per_class,
            output_stride=output_stride,
            downsampling=downsampling,
            multi_label=multi_label,
        )

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Localizer:
        """An untrained model of that recipe, to load a checkpoint into.

        Raises:
            UserError: a recipe of unknown names, or one whose backbone is a place to download from.
        """
        refuse_place(recipe.backbone)
        model = cls(
            recipe.backbone,
            pooling=recipe.pooling,
            neck=recipe.neck,
            maps_per_class=recipe.maps_per_class,
            weights="none",
            output_stride=recipe.output_stride,
            downsampling=recipe.downsampling,
            classes=recipe.classes,
            preprocessing=recipe.preprocessing,
            multi_label=recipe.multi_label,
        )
        if recipe.rectified:
            model._rectify()
        return model

    @classmethod
    def from_classifier(
        cls,
        classifier: str | nn.Module,
        weights: str | None = "DEFAULT",
        *,
        output_stride: int | None = None,
        classes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
    ) -> Localizer:
        """Any trained classifier of the form global average pooling + linear, with no training.

        The linear layer becomes a 1x1 convolution before the pooling (CAM, Zhou et al. 2016): the scores are the
        classifier's own logits, and the maps say where they came from.

        Raises:
            UserError: the classifier has another form; the message names what was found.

        >>> from torchvision.models import resnet18
        >>> Localizer.from_classifier(resnet18()).head.pooling
        gap
        """
        if isinstance(classifier, str):
            built = create_classifier(classifier, weights or "none")
            net, name = built.net, built.name
            preprocessing = preprocessing or built.preprocessing
            classes = classes or built.classes
        else:
            # The caller's module stays as it is, whatever is dilated or trained here.
            net, name = copy.deepcopy(classifier), ""
        shown = name or type(net).__name__
        chain = find_chain(net, shown)
        last = _classifying_layer(chain, shown)
        features = last.features if isinstance(last, ConvClassifier) else chain.features
        layer = last.conv if isinstance(last, ConvClassifier) else last
        body = cut_backbone(net, features, name, output_stride)
        if body.out_channels != layer.weight.shape[1]:
            raise UserError(
                f"{shown}'s last layer takes {layer.weight.shape[1]} features of a map with {body.out_channels} "
                "channels: expected global average pooling and a linear layer on the channels"
            )
        count = layer.weight.shape[0]
        model = cls(
            body,
            count,
            classes=classes,
            preprocessing=preprocessing,
            output_stride=output_stride,
            multi_label=False,
        )
        if isinstance(last, ConvClassifier) and last.rectified:
            model._rectify()
        assert isinstance(model.head, MapClassifier)
        with torch.no_grad():
            model.head.conv.weight.copy_(layer.weight.reshape(count, -1, 1, 1))
            if model.head.conv.bias is not None:
                model.head.conv.bias.zero_() if layer.bias is None else model.head.conv.bias.copy_(layer.bias)
        return model.train(net.training)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""
        return self.recipe.classes

    def grid(self, size: tuple[int, int]) -> Grid | None:
        """Where in an input of (height, width) the cells of the maps lie; None where that is not known."""
        return self.backbone.grids(size).map

    @property
    def levels(self) -> int:
        """How many levels of intermediate features a refinement can read."""
        return len(self.backbone.taps)

    @property
    def preprocessing(self) -> Preprocessing:
        """What the images must have gone through."""
        return self.recipe.preprocessing

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Class scores and class maps of a batch of normalised images."""
        output: HeadOutput = self.head(self.backbone(images))
        return output

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> InferenceLocalizer:
        """The model ready to run on a device in an arithmetic; the model itself stays as it is.

        The copy is kept and given again until a weight changes. Changes made through ``Tensor.data`` are not seen:
        make them under `torch.no_grad` on the parameter itself.

        >>> model = Localizer("tinynet", 20, pooling="netvlad(clusters=4)", weights="none")
        >>> output = model.for_inference(torch.device("cpu"), torch.float32)(torch.zeros(2, 3, 64, 64))
        >>> output.maps_of(torch.tensor([[3, 7], [0, 1]])).shape
        torch.Size([2, 2, 8, 8])
        """
        state, key = self._state(), (device, dtype)
        with self._lock:
            kept = self._ready.get(key)
            if kept is None or kept[0] != state:
                kept = self._ready[key] = (state, InferenceLocalizer(self, device, dtype))
        return kept[1]

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self.recipe.multi_label)

    def _state(self) -> tuple[object, ...]:
        """What tells a changed model from an unchanged one: its weights' versions and places, its modules, its head."""
        modules = list(self.modules())
        # Not by parameters() and buffers(), which go through all modules twice and look for names.
        own = itertools.chain.from_iterable((*m._parameters.values(), *m._buffers.values()) for m in modules)
        # Tensors made in inference mode count no versions.
        weights = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in own if t is not None)
        return weights, tuple(map(id, modules)), repr(self.head)

    def __getstate__(self) -> dict[str, Any]:
        # Neither copies nor pickles take along what can be made again.
        return {**self.__dict__, "_ready": {}, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()

    def _rectify(self) -> None:
        plain = self.head
        self.head = RectifiedMapClassifier(self.backbone.out_channels, len(self.classes), self.recipe.pooling)
        self.head.load_state_dict(plain.state_dict())
        self.recipe = dataclasses.replace(self.recipe, rectified=True)


def _head(
    channels: int, num_classes: int, pooling: str, neck: str | None, maps_per_class: int
) -> MapClassifier | GradientHead:
    try:
        if not names_encoder(pooling):
            return MapClassifier(channels, num_classes, pooling=pooling, maps_per_class=maps_per_class, neck=neck)
        classifier = VectorClassifier(channels, num_classes, encoder=pooling, neck=neck)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    if maps_per_class != 1:
        raise UserError(f"maps per class is {maps_per_class}, but {pooling} has no class maps: leave it at 1")
    if classifier.encoder.other_channels is not None:
        raise UserError(f"{pooling} takes two sources, and a backbone gives one: leave other_channels out")
    return GradientHead(classifier)


def _downsample(backbone: Backbone, downsampling: str) -> Backbone:
    """The same backbone with other poolings inside."""
    net = copy.deepcopy(backbone.net)  # the caller's stays as it is
    try:
        replaced = replace_pooling(net, downsampling)
        downsampled = Backbone(net, backbone.name, backbone.dilated)
        # Some refuse what they are given, such as negative values: better here than in the first step.
        noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            downsampled(noise)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    if not replaced:
        raise UserError(
            f"downsampling {downsampling!r}: {backbone.name or type(net).__name__} has no pooling layer of that kind, "
            "expected a backbone with some (resnet50, densenet121, vgg16, squeezenet1_1, …), or None"
        )
    return downsampled


def _class_names(classes: Sequence[str], num_classes: int | None) -> tuple[str, ...]:
    if not classes and num_classes is None:
        raise UserError("neither classes nor num_classes given: expected the class names or their number")
    if not classes:
        return tuple(f"class {index}" for index in range(num_classes or 0))
    if num_classes is not None and len(classes) != num_classes:
        raise UserError(f"{len(classes)} class names for {num_classes} classes: expected as many")
    return tuple(classes)


def _classifying_layer(chain: Chain, name: str) -> nn.Linear | ConvClassifier:
    after = chain.significant()
    if chain.pools_globally:
        if len(after) == 1:
            layer = chain.module(after[0])
            if isinstance(layer, nn.Linear):
                return layer
        by_convolution = None if after else conv_classifier(chain)
        if by_convolution is not None:
            return by_convolution
    raise UserError(
        f"{name} has not the form global average pooling -> linear; found {chain.describe()}. "
        "Train a head on it with wsl-train, or take a classifier of that form (resnet50, densenet121, swin_t, …)"
    )
