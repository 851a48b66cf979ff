"""A 1x1 convolution with weights of norm 1 and without bias."""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class UnitConv2d(nn.Conv2d):
    """A 1x1 convolution without bias whose weights are normalised to norm 1 for each class.

    Source: Zhu and Wu, Residual attention (CSRA), ICCV 2021, in the authors' code.

    Shape:
        (N, in_channels, H, W) -> (N, out_channels, H, W); or without N.

    >>> conv = UnitConv2d(2, 1)
    >>> _ = conv.weight.data.copy_(torch.tensor([[[[3.0]], [[4.0]]]]))
    >>> conv(torch.ones(2, 1, 1)).item()  # 3/5 + 4/5
    1.4...
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Features to maps."""
        norm = torch.linalg.vector_norm(self.weight, dim=1, keepdim=True)
        return conv2d(input, self.weight / norm.clamp(min=1e-12))
