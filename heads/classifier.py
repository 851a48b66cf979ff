"""Features to class maps to scores: 1x1 convolution, class-wise mean, pooling."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from heads._checks import check_positive_int
from heads._necked import Necked
from heads._unit_conv import UnitConv2d
from heads.classwise import ClasswiseMean
from heads.encoding import SPPBlock
from heads.pooling import Pooling
from heads.readout import Readout
from heads.spec import create_pooling


class HeadOutput(NamedTuple):
    """Scores and the class maps from which they were pooled.

    Shape:
        ``scores`` (N, K) and ``maps`` (N, K, h, w); without N for one image.

    >>> import torch
    >>> scores, maps = HeadOutput(torch.zeros(1, 2), torch.zeros(1, 2, 7, 7))
    """

    scores: Tensor
    maps: Tensor


class MapClassifier(Necked):
    """Backbone features to class maps, and class maps to scores: 1x1 convolution, class-wise mean, pooling.

    Its modules are attributes: ``conv``, ``classwise`` and ``pooling``; another pooling of the same maps is
    ``other(head(features).maps)``. The bias is initialised to zero, the weights like torch's convolutions. A ``neck``
    (``"sppblock"``) adds context to each location before the convolution.

    Some poolings change the head: sizes given as "auto" in the spec become this head's; if there are several values per
    map (``cat``, ``adaptive``), each class learns to combine its own into one score, starting at their mean
    (``readout``); ``attention`` reads the features; ``csra`` has a convolution for each temperature, of norm 1 and
    without bias, and its class maps are the sum over them.

    Shape:
        (N, in_channels, h, w) -> scores (N, num_classes), maps (N, num_classes, h, w); or without N.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size is below 1, the pooling is unknown or unsuitable for class maps, or features have another
            shape.

    >>> import torch
    >>> head = MapClassifier(512, 20, pooling="weldon(k_max=0.2, k_min=0.2)", maps_per_class=4)
    >>> scores, maps = head(torch.zeros(2, 512, 14, 14))
    >>> scores.shape, maps.shape
    (torch.Size([2, 20]), torch.Size([2, 20, 14, 14]))
    """

    rectified: bool = False
    """Whether maps pass a ReLU before they are pooled."""

    kernel_size: int = 1
    """The side of the convolution's kernel; above 1, zero padding keeps the size of the maps."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pooling: str | nn.Module = "gap",
        maps_per_class: int = 1,
        neck: str | SPPBlock | None = None,
    ) -> None:
        super().__init__(in_channels, neck)
        num_classes, channels = check_positive_int(num_classes, "num_classes"), self.head_channels
        self.classwise = ClasswiseMean(maps_per_class)
        sizes = {"classes": num_classes, "channels": channels}
        self.pooling = pooling if isinstance(pooling, nn.Module) else create_pooling(pooling, **sizes)
        maps, unit_norm, values = num_classes * self.classwise.maps_per_class, False, 1
        if isinstance(self.pooling, Pooling):
            maps, unit_norm = maps * self.pooling.branches, self.pooling.unit_norm
            values = self._check_pooling(self.pooling, sizes)
        if unit_norm and self.kernel_size != 1:
            raise ValueError(
                f"pooling {self.pooling!r} has a 1x1 convolution of its own, and {type(self).__name__} one of "
                f"{self.kernel_size}x{self.kernel_size}: use another pooling, such as gap"
            )
        side = self.kernel_size
        self.conv = UnitConv2d(channels, maps) if unit_norm else nn.Conv2d(channels, maps, side, padding=side // 2)
        self.reactivation: nn.Parameter | None = None
        self.readout = Readout(num_classes, values) if values > 1 else None
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def _check_pooling(self, pooling: Pooling, sizes: Mapping[str, int]) -> int:
        """The number of values per map, after checking that the pooling suits class maps of these sizes."""
        for size, number in sizes.items():
            own = getattr(pooling, size, None)
            if isinstance(own, int) and own != number:
                raise ValueError(f"pooling {pooling!r} is for {own} {size}, expected {number}: leave {size} out")
        if pooling.for_signed_maps is not None and not self.rectified:
            name = repr(pooling).partition("(")[0]
            raise ValueError(
                f"pooling {pooling!r} takes maps of 0 or more, and class maps have signs: "
                f"use {name}({pooling.for_signed_maps})"
            )
        if pooling.values_per_map is None:
            raise ValueError(
                f"pooling {pooling!r} gives a number of values that depends on the image, expected a fixed number: "
                "use adaptive(size=2)"
            )
        return pooling.values_per_map

    def forward(self, features: Tensor) -> HeadOutput:
        """Features to scores and class maps."""
        features = self._enter(features)
        output = self.pool(self.class_maps(features), features)
        if self.reactivation is None or self.training:
            return output
        return output._replace(maps=self.reactivated(features))

    def add_reactivation(self) -> nn.Parameter:
        """Add weights (num_classes, in_channels) of a second classifier, for the maps in evaluation: see `reactivated`.

        They start at zero, so that the maps depend on what was learnt and not on the initialisation.

        Raises:
            ValueError: the maps do not come from a single 1x1 convolution of the features.

        >>> head = MapClassifier(8, 2)
        >>> head.add_reactivation().shape
        torch.Size([2, 8])
        """
        if type(self.conv) is not nn.Conv2d or self.kernel_size != 1 or self.neck is not None or self.rectified:
            raise ValueError("maps of two classifiers are products of their weights: expected one 1x1 convolution")
        maps, channels = self.conv.weight.shape[:2]
        weight = self.conv.weight.detach().new_zeros(maps // self.classwise.maps_per_class, channels)
        self.reactivation = nn.Parameter(weight)
        return self.reactivation

    def reactivated(self, features: Tensor) -> Tensor:
        """Signed maps (N, num_classes, h, w) of the product of both classifiers' weights, without bias.

        Source: Chen et al., Class Re-Activation Maps, CVPR 2022; the authors' code, which then clips them at 0.
        """
        assert self.reactivation is not None
        with torch.autocast(features.device.type, enabled=False):
            kind = self.reactivation.dtype
            classes, channels = self.reactivation.shape
            weight = self.conv.weight.to(kind).view(classes, -1, channels, 1, 1).mean(1)
            return conv2d(features.to(kind), weight * self.reactivation[..., None, None])

    def class_maps(self, features: Tensor) -> Tensor:
        """The maps to pool, from features that have passed the neck.

        (N, num_classes, h, w), or more maps if the pooling has several convolutions.
        """
        maps: Tensor = self.classwise(self.conv(features))
        return maps

    def pool(self, maps: Tensor, features: Tensor) -> HeadOutput:
        """Scores of the maps, and the class maps to return with them."""
        if not isinstance(self.pooling, Pooling):
            return HeadOutput(self.pooling(maps), maps)
        if self.readout is not None:
            return HeadOutput(self.readout(self.pooling.values(maps)), maps)
        return HeadOutput(*self.pooling.combine(maps, features))
