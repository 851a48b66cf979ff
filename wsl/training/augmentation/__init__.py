"""Augmentation of images and targets by spec string: batch transforms, and transforms of torchvision."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from heads.spec import create, parse_spec, suggestion
from wsl.errors import UserError
from wsl.images.tensors import Normalise
from wsl.models.create_head import user_errors
from wsl.training.augmentation._transform import BatchTransform
from wsl.training.augmentation.cutmix import CutMix
from wsl.training.augmentation.hide_and_seek import HideAndSeek
from wsl.training.augmentation.vision import VISION, VisionTransform
from wsl.training.loading import Batch

__all__ = ["TRANSFORMS", "Augmentation", "BatchTransform", "CutMix", "HideAndSeek", "create_augmentation"]

TRANSFORMS: Mapping[str, type[BatchTransform]] = MappingProxyType({"hide-and-seek": HideAndSeek, "cutmix": CutMix})
"""All batch transforms by name; the transforms of torchvision are in `VISION`."""

# Transforms of small probability change an image only in some draws.
_DRAWS = 200


def create_augmentation(specs: Sequence[str], normalise: Normalise, seed: int, side: int) -> Augmentation:
    """Create the transforms that spec strings name, for inputs of `side` pixels.

    Raises:
        UserError: a name or an argument is unknown, or a value is out of range.

    >>> from wsl.config import Preprocessing
    >>> create_augmentation(["cutmx"], Normalise(Preprocessing()), 0, 224)
    Traceback (most recent call last):
    wsl.errors.UserError: unknown augmentation 'cutmx': did you mean 'cutmix'?
    """
    pixels: dict[int, VisionTransform] = {}
    batches: dict[int, BatchTransform] = {}
    known = [*TRANSFORMS, *VISION]
    for place, spec in enumerate(specs):
        with user_errors():
            name, _ = parse_spec(spec, "augmentation", known)
            if name in VISION:
                pixels[place] = VisionTransform(spec, side)
            elif name in TRANSFORMS:
                batches[place] = create(spec, TRANSFORMS, "augmentation")
            else:
                raise UserError(f"unknown augmentation {name!r}: {suggestion(name, known)}")
    return Augmentation(pixels, batches, normalise, seed, _try_out(pixels.values(), side))


def _try_out(transforms: Iterable[VisionTransform], side: int) -> list[str]:
    """Apply transforms to noise: torchvision checks some arguments, such as the size of a crop, only then.

    Returns the specs of those that never change it.

    Raises:
        UserError: a transform cannot be applied to images of this size.
    """
    height, width, idle = side, side, []
    for transform in transforms:
        image = _noise(height, width)
        try:
            draws = (transform(image, [seed]) for seed in range(_DRAWS))
            changed = next((new for new in draws if not torch.equal(new, image)), None)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"augmentation {transform.spec!r} of an image of {height} x {width} pixels: {error}"
            ) from error
        if changed is None:
            idle.append(transform.spec)
        else:
            height, width = changed.shape[2:]
    return idle


def _noise(height: int, width: int) -> Tensor:
    """An image of random values, those of the first channel without the ends of the range, so that contrast can grow.

    Shape:
        (1, 3, height, width), uint8.
    """
    image = torch.randint(256, (1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    image[:, 0] = image[:, 0] // 2 + 64
    return image


class Augmentation:
    """A sequence of transforms: first those of torchvision, which change pixels, then those of batches.

    The random numbers of an image derive from the seed, the epoch, the image and the transform's position in the list.
    ``idle`` are the specs of transforms that never change an image, such as a colour jitter without arguments.
    """

    def __init__(
        self,
        pixels: Mapping[int, VisionTransform],
        batches: Mapping[int, BatchTransform],
        normalise: Normalise,
        seed: int,
        idle: Sequence[str] = (),
    ) -> None:
        self._pixels, self._batches, self._normalise, self._seed = pixels, batches, normalise, seed
        self.idle = tuple(idle)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with their neighbours in the batch."""
        return any(transform.mixes for transform in self._batches.values())

    def __call__(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised images on the device, their targets, and the mask of known targets."""
        device = self._normalise.device
        targets, known = (one.to(device, non_blocking=True) for one in (batch.targets, batch.known))
        index = batch.index.tolist()
        if self._pixels:
            planes = batch.images.to(device, non_blocking=True).permute(0, 3, 1, 2)
            for place, transform in self._pixels.items():
                planes = transform(planes, [self._seed_of(epoch, image, place) for image in index])
            images = self._normalise.planes(planes.float())
        else:
            images = self._normalise(batch.images)
        for place, mix in self._batches.items():
            generators = [np.random.default_rng((self._seed, epoch, image, place)) for image in index]
            images, targets, known = mix(images, targets, known, generators)
        return images, targets, known

    def _seed_of(self, epoch: int, image: int, place: int) -> int:
        return int(np.random.SeedSequence((self._seed, epoch, image, place)).generate_state(1)[0])
