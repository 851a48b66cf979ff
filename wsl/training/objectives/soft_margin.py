"""Multi-label soft-margin loss: the mean over the classes of each image, then over images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from heads import HeadOutput
from wsl.training.objectives._objective import Objective, Pass, divisor


def image_losses(scores: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """The mean binary cross-entropy over the known classes of each image, (N, K) to (N,); 0 if none is known.

    >>> import torch
    >>> image_losses(torch.zeros(2, 3), torch.eye(2, 3), torch.tensor([[1.0, 1, 0], [0, 0, 0]])).tolist()
    [0.693..., 0.0]
    """
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (losses * mask).sum(1) / divisor(mask.sum(1))


class SoftMargin(Objective):
    """`torch.nn.MultiLabelSoftMarginLoss` with unknown pairs: the mean over known classes, then over images.

    It differs from `BCE` only if pairs are unknown: every image has the same weight.

    >>> import torch
    >>> mask = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    >>> SoftMargin()(HeadOutput(torch.zeros(2, 3), torch.empty(0)), torch.eye(2, 3), mask).item()
    0.693...
    """

    spec_name = "soft-margin"
    classifies = True

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over images."""
        return image_losses(output.scores, targets, mask).sum()
