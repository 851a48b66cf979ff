"""The base class of all batch transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from heads._specified import Specified

Generators = Sequence[np.random.Generator]


class BatchTransform(Specified):
    """Base class of batch transforms: ``transform(images, targets, mask, generators)`` returns the first three.

    Each image has its own generator, which depends only on the seed, the epoch and the image, so that the random
    numbers are the same for any number of workers and processes. A transform that ``mixes`` images mixes pairs of
    neighbours in the batch, the first with the second, the third with the fourth, with the generator of the first image
    of a pair. The input tensors are not modified.

    Shape:
        ``images`` (N, 3, H, W), normalised and on the device; ``targets`` (N, K) in [0, 1]; ``mask`` (N, K), 0 where a
        target is unknown; to the same shapes.
    """

    mixes: ClassVar[bool] = False

    def forward(
        self, images: Tensor, targets: Tensor, mask: Tensor, generators: Generators
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The transformed images, targets and mask."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")
