"""Puzzle-CAM: the class maps of an image should equal the merged class maps of its tiles."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from heads import HeadOutput
from wsl.errors import UserError
from wsl.training.objectives._objective import Objective, Pass, images_known, needed
from wsl.training.objectives.soft_margin import image_losses


def tile(images: Tensor, tiles: int) -> Tensor:
    """Cut images into ``tiles`` x ``tiles`` parts, row by row; those of the first image come first.

    Shape:
        (N, C, H, W), with sides divisible by ``tiles``, to (N * tiles^2, C, H / tiles, W / tiles).

    >>> import torch
    >>> tile(torch.arange(4.0).view(1, 1, 2, 2), 2).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    n, c, height, width = images.shape
    parts = images.reshape(n, c, tiles, height // tiles, tiles, width // tiles)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(n * tiles * tiles, c, height // tiles, width // tiles)


def merge(parts: Tensor, tiles: int) -> Tensor:
    """Merge the tiles from `tile`, or their maps; the inverse of `tile`.

    Shape:
        (N * tiles^2, C, h, w) to (N, C, h * tiles, w * tiles).

    >>> import torch
    >>> images = torch.rand(2, 3, 4, 6)
    >>> torch.equal(merge(tile(images, 2), 2), images)
    True
    """
    count, c, height, width = parts.shape
    images = parts.reshape(count // tiles**2, tiles, tiles, c, height, width)
    return images.permute(0, 3, 1, 4, 2, 5).reshape(count // tiles**2, c, height * tiles, width * tiles)


class Puzzle(Objective):
    """Loss of the merged maps of tiles, plus their mean absolute difference from the maps of the image.

    An image is cut into ``tiles`` x ``tiles`` parts, which run through the network separately; their maps are merged.
    The first term is the soft-margin loss of the means of the merged maps. The second is ``alpha`` times the mean, over
    all cells of all classes, of the absolute difference of both maps for the classes present; its weight rises linearly
    from 0 during the fraction ``ramp`` of the training. Images and maps are resized if their sides do not match.

    Source: Jo & Yu, Puzzle-CAM: Improved localization via matching partial and full features, ICIP 2021, equation 6.

    >>> Puzzle(alpha=4)
    puzzle(tiles=2, alpha=4, ramp=0.5)
    """

    reads_maps = True
    runs_again = True

    def __init__(self, tiles: int = 2, alpha: float = 4, ramp: float = 0.5) -> None:
        super().__init__()
        if not isinstance(tiles, int) or not 2 <= tiles <= 8:
            raise UserError(f"tiles is {tiles}, expected a number of tiles a side from 2 to 8")
        if not isinstance(alpha, int | float) or not 0 <= alpha < 1e6:
            raise UserError(f"alpha is {alpha}, expected a weight of 0 or more")
        if not isinstance(ramp, int | float) or not 0 <= ramp <= 1:
            raise UserError(f"ramp is {ramp}, expected a fraction of the training in [0, 1]")
        self.tiles, self.alpha, self.ramp = tiles, alpha, ramp

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over images."""
        given = needed(given, self)
        images = given.inputs
        height, width = (-(-side // self.tiles) * self.tiles for side in images.shape[2:])
        if (height, width) != tuple(images.shape[2:]):
            images = F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
        merged = merge(given.run(tile(images, self.tiles)).maps, self.tiles)
        whole = output.maps
        if whole.shape[2:] != merged.shape[2:]:
            whole = F.interpolate(whole, merged.shape[2:], mode="bilinear", align_corners=False)
        present = (targets * (mask > 0))[:, :, None, None]
        differences = ((whole - merged).abs() * present).mean((1, 2, 3)) * images_known(mask)
        losses = image_losses(merged.mean((2, 3)), targets, mask)
        return (losses + self.alpha_at(given.progress) * differences).sum()

    def alpha_at(self, progress: float) -> float:
        """The weight of the difference after a fraction of the training.

        >>> [Puzzle(alpha=4, ramp=0.5).alpha_at(progress) for progress in (0, 0.25, 0.5, 1)]
        [0.0, 2.0, 4, 4]
        """
        return self.alpha if progress >= self.ramp else self.alpha * progress / self.ramp
