"""Heads of pretrained classifiers whose scores are the mean of class maps, but not of a plain 1x1 convolution."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from heads import MapClassifier


class RectifiedMapClassifier(MapClassifier):
    """A head whose maps pass a ReLU before they are pooled, as in SqueezeNet's classifier."""

    rectified = True

    def class_maps(self, features: torch.Tensor) -> torch.Tensor:
        """Rectified maps."""
        return torch.relu(super().class_maps(features))


class NormedMapClassifier(MapClassifier):
    """A head with a layer norm between global average pooling and the linear layer, as in ConvNeXt.

    The mean and variance of the norm are those of the pooled features. Every location is normalised by them, so the
    mean of the class maps is the score.

    >>> head = NormedMapClassifier(8, 3, "gap")
    >>> scores, maps = head(torch.randn(2, 8, 5, 5))
    >>> torch.allclose(maps.mean((2, 3)), scores, atol=1e-5)
    True
    """

    def __init__(self, in_channels: int, num_classes: int, pooling: str = "gap", eps: float = 1e-6) -> None:
        super().__init__(in_channels, num_classes, pooling=pooling)
        self.norm = nn.LayerNorm(in_channels, eps=eps)

    def normalised(self, features: torch.Tensor) -> torch.Tensor:
        """Features (N, C, h, w) normalised by the statistics of their means, in float32."""
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            means = features.mean((2, 3))
            variance, average = torch.var_mean(means, 1, correction=0, keepdim=True)
            scale = torch.rsqrt(variance + self.norm.eps) * self.norm.weight
            shift = self.norm.bias - average * scale
            return torch.addcmul(shift[..., None, None], features, scale[..., None, None])

    def class_maps(self, features: torch.Tensor) -> torch.Tensor:
        """Maps of normalised features."""
        with torch.autocast(features.device.type, enabled=False):
            return F.conv2d(self.normalised(features), self.conv.weight, self.conv.bias)
