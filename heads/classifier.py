"""Features to class maps to scores: a 1x1 convolution, the class-wise mean, a pooling."""

from typing import NamedTuple

from torch import Tensor, nn

from heads._checks import check_maps, check_positive_int
from heads.classwise import ClasswiseMean
from heads.spec import create_pooling


class HeadOutput(NamedTuple):
    """Scores and the class maps that they were pooled from.

    Shape:
        ``scores`` (N, K) and ``maps`` (N, K, h, w); without N for one image.

    >>> import torch
    >>> scores, maps = HeadOutput(torch.zeros(1, 2), torch.zeros(1, 2, 7, 7))
    """

    scores: Tensor
    maps: Tensor


class MapClassifier(nn.Module):
    """Backbone features become class maps, and class maps scores: 1x1 convolution, class-wise mean, pooling.

    The parts are attributes: ``conv``, ``classwise`` and ``pooling``; another pooling of the same maps is
    ``other(head(features).maps)``. The bias starts at zero, the weights as torch's convolutions do.

    Shape:
        (N, in_channels, h, w) -> scores (N, num_classes), maps (N, num_classes, h, w); or without N.

    Raises:
        TypeError: an argument of another kind.
        ValueError: a size below 1, an unknown pooling, or features of another shape.

    >>> import torch
    >>> head = MapClassifier(512, 20, pooling="weldon(k_max=0.2, k_min=0.2)", maps_per_class=4)
    >>> scores, maps = head(torch.zeros(2, 512, 14, 14))
    >>> scores.shape, maps.shape
    (torch.Size([2, 20]), torch.Size([2, 20, 14, 14]))
    """

    def __init__(
        self, in_channels: int, num_classes: int, pooling: str | nn.Module = "gap", maps_per_class: int = 1
    ) -> None:
        super().__init__()
        in_channels = check_positive_int(in_channels, "in_channels")
        num_classes = check_positive_int(num_classes, "num_classes")
        self.classwise = ClasswiseMean(maps_per_class)
        self.conv = nn.Conv2d(in_channels, num_classes * self.classwise.maps_per_class, kernel_size=1)
        self.pooling = pooling if isinstance(pooling, nn.Module) else create_pooling(pooling)
        assert self.conv.bias is not None
        nn.init.zeros_(self.conv.bias)

    def forward(self, features: Tensor) -> HeadOutput:
        """Features to scores and class maps."""
        check_maps(features, "features")
        if features.shape[-3] != self.conv.in_channels:
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected {self.conv.in_channels} channels: "
                "build the head for this backbone's channels"
            )
        maps = self.classwise(self.conv(features))
        return HeadOutput(self.pooling(maps), maps)
