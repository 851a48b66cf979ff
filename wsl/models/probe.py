"""The linear probe of a frozen backbone: pooled features, and the posteriors of its own classifier, to class scores."""

from __future__ import annotations

import torch
from torch import nn

from wsl.errors import UserError


class LinearProbe(nn.Module):
    """One linear layer on the square roots of pooled features and of a fixed classifier's posteriors.

    The layer's inputs are `pooled_features` and, with `posteriors`, the square roots of that number of class
    probabilities: those of the mean features, then their maxima over all cells. ``classifier`` is the linear layer
    whose softmax gives them, for example that of the backbone's own ImageNet classifier. Everything is computed in
    float32.

    Shape:
        Features (N, channels, h, w) to scores (N, num_classes), each for a sigmoid.

    Source: square roots of probabilities, whose distance is Hellinger's, are those of Arandjelovic & Zisserman, Three
    Things Everyone Should Know to Improve Object Retrieval, CVPR 2012, section 3.

    >>> probe = LinearProbe(8, 2, posteriors=5)
    >>> probe(torch.rand(3, 8, 4, 4)).shape, probe.linear.in_features
    (torch.Size([3, 2]), 26)
    """

    def __init__(self, channels: int, num_classes: int, posteriors: int = 0) -> None:
        super().__init__()
        self.classifier = nn.Linear(channels, posteriors) if posteriors else None
        self.linear = nn.Linear(2 * (channels + posteriors), num_classes)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Scores of a batch of feature maps."""
        with torch.autocast(features.device.type, enabled=False):
            scores: torch.Tensor = self.linear(self.inputs(features))
            return scores

    def inputs(self, features: torch.Tensor) -> torch.Tensor:
        """The inputs of the linear layer, (N, 2 (channels + posteriors))."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            parts = [features.mean((2, 3)), features.amax((2, 3))]
            if self.classifier is not None:
                parts.append(self.classifier(parts[0]).softmax(1))
                # A matrix product, because convolutions may have lower precision on CUDA.
                parts.append(self.classifier(features.flatten(2).transpose(1, 2)).softmax(2).amax(1))
            return _root(torch.cat(parts, 1))


def pooled_features(maps: torch.Tensor) -> torch.Tensor:
    """Feature maps as vectors: the square roots of each channel's mean, then of its maximum.

    Activations after a ReLU are skewed, with values many times higher in a few images than in others; linear models fit
    their square roots better. For a value v below 0 it is ``-sqrt(-v)``, and the gradient at 0 is defined as 0.

    Shape:
        (N, C, h, w) to (N, 2 C), float32 or the maps' float64.

    Raises:
        UserError: the shape is not (N, C, h, w) with at least one cell.

    Source: the square root is that of Perronnin et al., Improving the Fisher Kernel for Large-Scale Image
    Classification, ECCV 2010, section 3.2.

    >>> pooled_features(torch.tensor([[[[0.0, 0.0], [0.0, 16.0]], [[-4.0, -4.0], [-4.0, -4.0]]]])).tolist()
    [[2.0, -2.0, 4.0, -2.0]]
    """
    if maps.ndim != 4 or 0 in maps.shape[2:]:
        raise UserError(f"feature maps have shape {tuple(maps.shape)}, expected (N, C, h, w) with at least one cell")
    maps = maps if maps.dtype == torch.float64 else maps.float()
    return _root(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))


def _root(values: torch.Tensor) -> torch.Tensor:
    """Signed square roots, with the gradient at 0 set to 0 instead of infinity."""
    return values.sign() * torch.where(values == 0, 1, values).abs().sqrt()
