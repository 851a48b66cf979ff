"""Views of an image for test-time augmentation, mirrored or of other sizes, whose scores and maps are averaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from wsl.config.shared import parse_tta
from wsl.images.geometry import Geometry
from wsl.maps.refine import resized
from wsl.models import Features


class View(NamedTuple):
    """A view of the network's input: at its own or another side, mirrored or not.

    >>> View(None, mirrored=True).of(torch.tensor([[[[1.0, 2.0]]]])).tolist()
    [[[[2.0, 1.0]]]]
    """

    side: int | None
    mirrored: bool

    def of(self, images: torch.Tensor) -> torch.Tensor:
        """The view of images (N, 3, S, S)."""
        if self.side is not None and self.side != images.shape[-1]:
            size = (self.side, self.side)
            images = F.interpolate(images, size, mode="bilinear", antialias=True).contiguous(
                memory_format=torch.channels_last
            )
        return images.flip(3) if self.mirrored else images

    def geometry(self, image: Geometry) -> Geometry:
        """The geometry of the image in the view, given its geometry in the input."""
        if self.mirrored:
            _, _, right, _ = image.content
            image = dataclasses.replace(image, offset_x=image.canvas[0] - right)
        if self.side is None or self.side == image.canvas[0]:
            return image
        factor = self.side / image.canvas[0]
        return dataclasses.replace(
            image,
            canvas=(self.side, self.side),
            scale_x=image.scale_x * factor,
            scale_y=image.scale_y * factor,
            offset_x=image.offset_x * factor,
            offset_y=image.offset_y * factor,
        )

    def boxes(self, xyxy: torch.Tensor, canvas: int) -> torch.Tensor:
        """Boxes (…, 4) found in the view, in pixels of an input whose sides are `canvas`.

        >>> View(20, mirrored=True).boxes(torch.tensor([0.0, 2.0, 5.0, 4.0]), 40).tolist()
        [30.0, 4.0, 40.0, 8.0]
        """
        side = self.side or canvas
        if self.mirrored:
            x0, y0, x1, y1 = xyxy.unbind(-1)
            xyxy = torch.stack([side - x1, y0, side - x0, y1], -1)
        return xyxy * (canvas / side)

    def cropped(self, image: Geometry, maps: Features) -> torch.Tensor:
        """The maps of the view as maps of the image, (N, J, h, w), covering exactly its content."""
        cropped = self.geometry(image).crop_tensor(*maps)
        return cropped.flip(3) if self.mirrored else cropped


def views(tta: Sequence[str | int]) -> tuple[View, ...]:
    """The views for test-time augmentation: each side unmirrored, then each mirrored.

    >>> views(["flip"])
    (View(side=None, mirrored=False), View(side=None, mirrored=True))
    """
    sides, flip = parse_tta(tta)
    return tuple(
        View(side, mirrored) for mirrored in ((False, True) if flip else (False,)) for side in sides or (None,)
    )


def mean_of_views(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The mean of tensors; for maps (…, h, w) of several resolutions, at that of the first.

    >>> mean_of_views([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])]).tolist()
    [2.0, 2.0]
    """
    first, *others = tensors
    for other in others:
        first = first + (other if other.shape == first.shape else resized(other, first.shape[-2:]))
    return first / len(tensors) if others else first
