"""Binary cross-entropy: an independent classifier for each class."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from heads import HeadOutput
from wsl.training.objectives._objective import Objective, Pass, divisor


def binary_cross_entropy(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Mean binary cross-entropy over all known (image, class) pairs, weighted by the mask.

    Shape:
        ``scores``, ``targets`` and ``mask`` (N, K); a scalar.

    >>> import torch
    >>> binary_cross_entropy(torch.tensor([[0.0, 0.0, 9.0]]), *torch.tensor([[[1.0, 0, 0]], [[1, 1, 0]]])).item()
    0.693...
    """
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (losses * mask).sum() / divisor(mask.sum())


class BCE(Objective):
    """Binary cross-entropy: see `binary_cross_entropy`.

    >>> BCE()
    bce
    """

    classifies = True

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over known pairs."""
        return (F.binary_cross_entropy_with_logits(output.scores, targets, reduction="none") * mask).sum()

    def count(self, targets: Tensor, mask: Tensor) -> Tensor:
        """The number of known pairs."""
        return mask.sum()
