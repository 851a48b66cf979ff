"""Softmax cross-entropy, for images with one label."""

from __future__ import annotations

import torch
from torch import Tensor

from heads import HeadOutput
from wsl.training.objectives._objective import Objective, Pass, divisor


class CrossEntropy(Objective):
    """Softmax cross-entropy; several labels share the weight of their image, and unknown classes are left out.

    The loss is the mean over the images with a label.

    >>> output = HeadOutput(torch.tensor([[3.0, 3.0, 9.0]]), torch.empty(0))
    >>> CrossEntropy()(output, *torch.tensor([[[1.0, 0, 0]], [[1, 1, 0]]])).item()  # log 2
    0.693...
    """

    spec_name = "cross-entropy"
    classifies = True

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over labelled images."""
        left_out = mask == 0
        log_probabilities = output.scores.masked_fill(left_out, -torch.inf).log_softmax(1).masked_fill(left_out, 0)
        labels = (targets * (mask > 0)).sum(1, keepdim=True)
        return -(log_probabilities * targets * mask / divisor(labels)).sum()

    def count(self, targets: Tensor, mask: Tensor) -> Tensor:
        """The number of labelled images; with class weights, the sum of the weights of their labels."""
        labels = (targets * (mask > 0)).sum(1)
        return ((targets * mask).sum(1) / divisor(labels)).sum()
