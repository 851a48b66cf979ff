"""Losses on class scores and targets of 1 (present), 0 (absent) and -1 (ignored: only difficult objects)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def binary_cross_entropy(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over all (image, class) pairs that are not ignored.

    Shape:
        scores (N, K), targets (N, K) to a scalar.

    >>> binary_cross_entropy(torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[1, 0, -1]])).item()  # log 2
    0.693...
    """
    known = targets >= 0
    losses = F.binary_cross_entropy_with_logits(scores, targets.clamp(min=0).to(scores.dtype), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def soft_margin(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """`torch.nn.MultiLabelSoftMarginLoss` with ignored pairs: a mean over each image's classes, then over images.

    It differs from `binary_cross_entropy` only where pairs are ignored: there each image keeps the same weight.

    Shape:
        scores (N, K), targets (N, K) to a scalar.

    >>> soft_margin(torch.zeros(2, 3), torch.tensor([[1, 0, -1], [0, 0, 0]])).item()
    0.693...
    """
    known = targets >= 0
    losses = F.binary_cross_entropy_with_logits(scores, targets.clamp(min=0).to(scores.dtype), reduction="none")
    return ((losses * known).sum(1) / known.sum(1).clamp(min=1)).mean()


def cross_entropy(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy; an image of several labels shares its weight among them, ignored classes take no part.

    The mean is over the images that have a label.

    Shape:
        scores (N, K), targets (N, K) to a scalar.

    >>> cross_entropy(torch.tensor([[3.0, 3.0, 9.0]]), torch.tensor([[1, 0, -1]])).item()  # log 2
    0.693...
    """
    log_probabilities = scores.masked_fill(targets < 0, -torch.inf).log_softmax(1).masked_fill(targets < 0, 0)
    present = (targets > 0).to(scores.dtype)
    labels = present.sum(1)
    losses = -(log_probabilities * present).sum(1) / labels.clamp(min=1)
    return losses.sum() / (labels > 0).sum().clamp(min=1)


LOSSES: dict[str, Loss] = {
    "bce": binary_cross_entropy,
    "soft-margin": soft_margin,
    "cross-entropy": cross_entropy,
}
