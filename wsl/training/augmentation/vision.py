"""Transforms of torchvision by name, applied to each image on the device."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from heads.spec import create, parse_spec
from wsl.training.seeding import seed_device

_CLASSES = (
    v2.AugMix,
    v2.AutoAugment,
    v2.ColorJitter,
    v2.ElasticTransform,
    v2.GaussianBlur,
    v2.RandAugment,
    v2.RandomAdjustSharpness,
    v2.RandomAffine,
    v2.RandomAutocontrast,
    v2.RandomChannelPermutation,
    v2.RandomCrop,
    v2.RandomEqualize,
    v2.RandomErasing,
    v2.RandomGrayscale,
    v2.RandomHorizontalFlip,
    v2.RandomInvert,
    v2.RandomPerspective,
    v2.RandomPhotometricDistort,
    v2.RandomPosterize,
    v2.RandomResizedCrop,
    v2.RandomRotation,
    v2.RandomSolarize,
    v2.RandomVerticalFlip,
    v2.TrivialAugmentWide,
)
VISION: Mapping[str, Any] = MappingProxyType({kind.__name__.lower(): kind for kind in _CLASSES})
"""The transforms by name: the name of torchvision's class in lower case."""


class VisionTransform:
    """A transform of `torchvision.transforms.v2` with one seed for each image.

    The ``size`` argument of a transform is by default that of the network's input.

    >>> transform = VisionTransform("randomresizedcrop(scale=(0.25, 1))", 32)
    >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    >>> transform(images, [0, 1]).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, spec: str, side: int) -> None:
        name, _ = parse_spec(spec, "augmentation")
        sized = name in VISION and "size" in inspect.signature(VISION[name]).parameters
        self.spec = spec
        self.transform: Any = create(spec, VISION, "augmentation", defaults={"size": (side, side)} if sized else {})

    def __call__(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Transform images (N, 3, H, W) uint8, each with its own seed."""
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            changed = []
            for image, seed in zip(images, seeds, strict=True):
                seed_device(seed, images.device)
                changed.append(self.transform(image))
        return torch.stack(changed)
