"""What all batch transforms share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor

from heads._specified import Specified

Generators = Sequence[np.random.Generator]


class BatchTransform(Specified):
    """What the network is shown in training: ``transform(images, targets, mask, generators)`` -> the first three.

    Each image has a generator of its own, which follows from the seed, the epoch and the image alone: what is drawn is
    the same whatever number of workers and processes there is. A transform that ``mixes`` images does so with
    neighbours of the batch, the first with the second, the third with the fourth, by the generator of the first of a
    pair. The tensors given are not changed.

    Shape:
        ``images`` (N, 3, H, W), normalised and on the device; ``targets`` (N, K) in [0, 1]; ``mask`` (N, K), 0 where a
        target is not known. The same.
    """

    mixes: ClassVar[bool] = False

    def forward(
        self, images: Tensor, targets: Tensor, mask: Tensor, generators: Generators
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A batch that looks otherwise."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")
