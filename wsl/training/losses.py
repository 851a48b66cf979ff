"""Losses on class scores, targets in [0, 1] and a mask of the pairs of an image and a class that are known."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def binary_cross_entropy(scores: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over all (image, class) pairs that are known.

    Shape:
        scores, targets and known (N, K) to a scalar.

    >>> binary_cross_entropy(torch.tensor([[0.0, 0.0, 9.0]]), *torch.tensor([[[1.0, 0, 0]], [[1, 1, 0]]])).item()
    0.693...
    """
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def soft_margin(scores: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """`torch.nn.MultiLabelSoftMarginLoss` with unknown pairs: a mean over each image's classes, then over images.

    It differs from `binary_cross_entropy` only where pairs are unknown: there each image keeps the same weight.

    Shape:
        scores, targets and known (N, K) to a scalar.

    >>> soft_margin(torch.zeros(2, 3), torch.eye(2, 3), torch.tensor([[1, 1, 0], [1, 1, 1]])).item()
    0.693...
    """
    losses = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return ((losses * known).sum(1) / known.sum(1).clamp(min=1)).mean()


def cross_entropy(scores: torch.Tensor, targets: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy; an image of several labels shares its weight among them, unknown classes take no part.

    The mean is over the images that have a label.

    Shape:
        scores, targets and known (N, K) to a scalar.

    >>> cross_entropy(torch.tensor([[3.0, 3.0, 9.0]]), *torch.tensor([[[1.0, 0, 0]], [[1, 1, 0]]])).item()
    0.693...
    """
    left_out = known == 0
    log_probabilities = scores.masked_fill(left_out, -torch.inf).log_softmax(1).masked_fill(left_out, 0)
    shares = targets * known
    total = shares.sum(1)
    labelled = total > 0
    losses = -(log_probabilities * shares).sum(1) / torch.where(labelled, total, 1)
    return losses.sum() / labelled.sum().clamp(min=1)


LOSSES: dict[str, Loss] = {
    "bce": binary_cross_entropy,
    "soft-margin": soft_margin,
    "cross-entropy": cross_entropy,
}
