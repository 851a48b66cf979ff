"""Equivariance term of SEAM: the class maps of a resized image should equal the resized class maps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from heads import HeadOutput
from wsl.errors import UserError
from wsl.training.objectives._objective import Objective, Pass, images_known, needed

_EPS = 1e-5
_SMALLEST = 16


def ranged(maps: Tensor) -> Tensor:
    """Rectified maps, scaled from 0 at their minimum to 1 at their maximum; a constant map becomes 0.

    >>> import torch
    >>> ranged(torch.tensor([[[[-1.0, 1.0, 3.0]]]])).mul(3).round().flatten().tolist()
    [0.0, 1.0, 3.0]
    """
    positive = maps.relu()
    low, high = positive.amin((2, 3), keepdim=True), positive.amax((2, 3), keepdim=True)
    return (positive - low - _EPS).relu() / (high - low + _EPS)


class Equivariance(Objective):
    """The mean absolute difference of the present classes' maps at two scales; other classes count as 0.

    The image is resized by ``scale`` and runs through the network again, and the maps of the original image are resized
    to the same size. Both are rectified and scaled to [0, 1] (`ranged`). The mean is over all cells of all classes.

    Source: Wang et al., Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic Segmentation,
    CVPR 2020, equation 5 (L_ER, without the attention module; scale 0.3).

    >>> Equivariance(scale=0.5)
    equivariance(scale=0.5, weight=1)
    """

    reads_maps = True
    runs_again = True

    def __init__(self, scale: float = 0.5, weight: float = 1) -> None:
        super().__init__()
        if not isinstance(scale, int | float) or not 0 < scale < 1:
            raise UserError(f"scale is {scale}, expected a fraction of the image's sides in (0, 1): try scale=0.5")
        if not isinstance(weight, int | float) or not 0 < weight < 1e6:
            raise UserError(f"weight is {weight}, expected a number above 0")
        self.scale, self.weight = scale, weight

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over images."""
        given = needed(given, self)
        height, width = (max(_SMALLEST, round(side * self.scale)) for side in given.inputs.shape[2:])
        smaller = F.interpolate(given.inputs, (height, width), mode="bilinear", align_corners=False)
        maps = given.run(smaller).maps
        resized = F.interpolate(output.maps, maps.shape[2:], mode="bilinear", align_corners=False)
        present = (targets * (mask > 0))[:, :, None, None]
        differences = (ranged(resized) - ranged(maps)).abs() * present
        return self.weight * (differences.mean((1, 2, 3)) * images_known(mask)).sum()
