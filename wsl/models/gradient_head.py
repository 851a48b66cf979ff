"""A head with an encoder, which has no class maps, and with gradient maps instead."""

from __future__ import annotations

import torch
from torch import nn

from heads import HeadOutput, VectorClassifier
from wsl.cam import gradient_maps


class GradientHead(nn.Module):
    """Scores of a `heads.VectorClassifier`, and in evaluation gradient maps (XGrad-CAM) as class maps.

    In training, maps are empty, (N, K, 0, 0), because they are not used and cost a backward pass through the encoder
    for each class. `maps` makes those of a few classes only. Scores can be differentiated, maps cannot.

    Shape:
        (N, C, h, w) to scores (N, K) and maps (N, K, h, w).

    >>> head = GradientHead(VectorClassifier(8, 2, "netvlad(clusters=4)"))
    >>> head.train()(torch.zeros(1, 8, 7, 7)).maps.shape, head.eval()(torch.zeros(1, 8, 7, 7)).maps.shape
    (torch.Size([1, 2, 0, 0]), torch.Size([1, 2, 7, 7]))
    """

    def __init__(self, classifier: VectorClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, features: torch.Tensor) -> HeadOutput:
        """Scores, and maps of all classes unless training."""
        if self.training:
            scores = self.classifier(features)
            return HeadOutput(scores, scores.new_empty((*scores.shape, 0, 0)))
        scores, maps = gradient_maps(self.classifier, features)
        return HeadOutput(self.classifier(features) if torch.is_grad_enabled() else scores, maps)

    def maps(self, features: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """The maps (N, J, h, w) of each image's classes (N, J)."""
        return gradient_maps(self.classifier, features, classes).maps
