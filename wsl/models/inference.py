"""A localizer prepared for inference: batch norms folded, weights converted to the device's precision, lazy maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from heads import MapClassifier, TokenClassifier
from heads.pooling import GAP
from wsl.models.class_attention import attended
from wsl.models.classifier_heads import NormedMapClassifier
from wsl.models.decoder import MapDecoder, finest, levels
from wsl.models.detector import BoxDetector, best_places
from wsl.models.device import autocast
from wsl.models.fuse import fuse_activations, fuse_batch_norm
from wsl.models.gradient_head import GradientHead
from wsl.models.protocol import (
    Detected,
    DetectedOf,
    Features,
    LazyMaps,
    LazyOutput,
    MapsOf,
    gather_maps,
    to_probabilities,
)
from wsl.models.taps import TapReader

if TYPE_CHECKING:
    from wsl.models.localizer import Localizer


class InferenceLocalizer:
    """A copy of a `Localizer` for one device and one precision; the model itself is not changed.

    For a head with global average pooling only the requested maps are computed: scores are computed from the mean
    features, in float32, and equal the means of the maps up to rounding.
    """

    def __init__(self, model: Localizer, device: torch.device, dtype: torch.dtype) -> None:
        fused = fuse_batch_norm(model).requires_grad_(False)
        if dtype != torch.float32:
            cast_weights(fused.backbone, dtype)
        self._model = fused.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.type == "cpu":
            fuse_activations(self._model)
        self._device, self._dtype = device, dtype
        self._taps = TapReader(self._model.backbone)
        self._linear = linear_head(self._model.head)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor, *, taps: bool = False) -> LazyOutput:
        """Scores, lazy maps and, if requested, intermediate features of normalised images (N, 3, H, W)."""
        backbone = self._model.backbone
        with autocast(self._device, self._dtype):
            size = (images.shape[-2], images.shape[-1])
            grids = backbone.grids(size, self._taps)
            if not taps:
                return LazyOutput(*self._lazy(images), grids.map)
            with self._taps.reading() as read:
                scores, maps_of = self._lazy(images)
            shown = tuple(Features(read[name], grid) for name, grid in zip(backbone.taps, grids.taps, strict=True))
            decoded = detected = None
            if self._model.decoder is not None:
                decoded = self._decoded(self._model.decoder, levels(backbone, read, grids), size)
            if self._model.detector is not None:
                detected = self._detected(self._model.detector, levels(backbone, read, grids), size)
            return LazyOutput(scores, maps_of, grids.map, shown, decoded, detected)

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self._model.recipe.multi_label)

    def _decoded(self, decoder: MapDecoder, features: Sequence[Features], size: tuple[int, int]) -> LazyMaps:
        """Lazy probabilities of the decoder, in float32."""

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            with autocast(self._device, self._dtype):
                logits = decoder(features, size)
            return gather_maps(logits, classes).float().sigmoid()

        return LazyMaps(maps_of, finest(features).grid)

    def _detected(self, detector: BoxDetector, features: Sequence[Features], size: tuple[int, int]) -> DetectedOf:
        """Boxes of the detector in float32, on demand."""

        def boxes_of(classes: torch.Tensor) -> Detected:
            with autocast(self._device, self._dtype):
                found = detector(features, size)
            return best_places(found.xyxy, found.scores, classes)

        return boxes_of

    def _lazy(self, images: torch.Tensor) -> tuple[torch.Tensor, MapsOf]:
        head, probe = self._model.head, self._model.probe
        if isinstance(head, TokenClassifier):
            features, attention = attended(self._model.backbone, images)
            scores, maps = head(features, attention)
            maps_of: MapsOf = partial(gather_maps, maps)
        else:
            features = self._model.backbone(images)
            scores, maps_of = self._of_head(head, features)
        return (scores if probe is None else probe(features)), maps_of

    def _of_head(self, head: nn.Module, features: torch.Tensor) -> tuple[torch.Tensor, MapsOf]:
        if self._linear is not None:
            return self._linear.lazy(features)
        if isinstance(head, GradientHead):
            return head.classifier(features), lambda classes: self._gradient_maps(head, features, classes)
        scores, maps = head(features)
        return scores, lambda classes: gather_maps(maps, classes)

    def _gradient_maps(self, head: GradientHead, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        with autocast(self._device, self._dtype):
            return head.maps(features, classes)


def cast_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights that autocast would convert again in each call."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.to(dtype)


class LinearHead(NamedTuple):
    """A head with global average pooling whose class maps are linear in prepared features.

    Shape:
        ``weight`` is (K, C) and ``bias`` (K,); ``prepare`` keeps the shape of features (N, C, h, w).
    """

    weight: torch.Tensor
    bias: torch.Tensor
    prepare: Callable[[torch.Tensor], torch.Tensor]

    def scores(self, prepared: torch.Tensor) -> torch.Tensor:
        """Scores (N, K) of the mean features, in float32."""
        with torch.autocast(prepared.device.type, enabled=False):
            return F.linear(prepared.mean((2, 3), dtype=torch.float32), self.weight, self.bias)

    def lazy(self, features: torch.Tensor) -> tuple[torch.Tensor, MapsOf]:
        """Scores (N, K), and a function for the maps of classes (N, J)."""
        prepared = self.prepare(features)

        def maps_of(classes: torch.Tensor) -> torch.Tensor:
            with torch.autocast(prepared.device.type, enabled=False):
                cells = prepared.float().flatten(2)
                maps = torch.baddbmm(self.bias[classes][..., None], self.weight[classes], cells)
            return maps.view(*maps.shape[:2], *prepared.shape[2:])

        return self.scores(prepared), maps_of


def linear_head(head: nn.Module) -> LinearHead | None:
    """The linear form of a head with a 1x1 convolution and global average pooling; None for other heads."""
    if type(head) not in (MapClassifier, NormedMapClassifier):
        return None
    assert isinstance(head, MapClassifier)
    if type(head.pooling) is not GAP or head.neck is not None or head.reactivation is not None:
        return None
    maps_per_class = head.classwise.maps_per_class
    weight = head.conv.weight.float().flatten(1)
    bias = weight.new_zeros(len(weight)) if head.conv.bias is None else head.conv.bias.float()
    classes = len(weight) // maps_per_class
    prepare = head.normalised if isinstance(head, NormedMapClassifier) else _unchanged
    return LinearHead(
        weight.view(classes, maps_per_class, -1).mean(1), bias.view(classes, maps_per_class).mean(1), prepare
    )


def _unchanged(features: torch.Tensor) -> torch.Tensor:
    return features
