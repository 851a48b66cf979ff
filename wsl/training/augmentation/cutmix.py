"""CutMix: a box of one image is pasted into another, and the labels are mixed by area."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.training.augmentation._transform import BatchTransform, Generators


class CutMix(BatchTransform):
    """Exchange a box between neighbours in the batch, and mix their targets by the areas in the resulting images.

    The box covers the fraction ``1 - x`` of the image, with x drawn from Beta(alpha, alpha). It has the aspect ratio of
    the image and a uniformly drawn centre; it is clipped to the image, and areas are measured after clipping. A class
    is known if it is known in both images. The last image of an odd batch is not changed.

    Source: Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features, ICCV
    2019.

    >>> CutMix()
    cutmix(alpha=1)
    """

    mixes = True

    def __init__(self, alpha: float = 1) -> None:
        super().__init__()
        if not isinstance(alpha, int | float) or not 0 < alpha < 1e6:
            raise UserError(f"alpha is {alpha}, expected a number above 0")
        self.alpha = alpha

    def forward(
        self, images: Tensor, targets: Tensor, mask: Tensor, generators: Generators
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The mixed images and targets, and their mask."""
        height, width = images.shape[2:]
        mixed, own = images.clone(), torch.ones(len(images))
        for first in range(0, len(images) - 1, 2):
            top, left, bottom, right = self._box(height, width, generators[first])
            for one, other in ((first, first + 1), (first + 1, first)):
                mixed[one, :, top:bottom, left:right] = images[other, :, top:bottom, left:right]
            own[first : first + 2] = 1 - (bottom - top) * (right - left) / (height * width)
        partner = torch.arange(len(images))
        partner[: len(images) // 2 * 2] = partner[: len(images) // 2 * 2].view(-1, 2).flip(1).reshape(-1)
        partner, share = partner.to(targets.device), own.to(targets)[:, None]
        known = torch.minimum(mask, mask[partner])
        return mixed, share * targets + (1 - share) * targets[partner], known

    def _box(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the box, half-open."""
        side = math.sqrt(1 - generator.beta(self.alpha, self.alpha))
        cut_h, cut_w = int(height * side), int(width * side)
        y, x = int(generator.integers(height)), int(generator.integers(width))
        top, left = y - cut_h // 2, x - cut_w // 2
        return max(0, top), max(0, left), min(height, top + cut_h), min(width, left + cut_w)
