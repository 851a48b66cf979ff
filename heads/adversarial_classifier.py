"""Two classifiers on one feature map: the regions that the first one uses are erased for the second."""

import torch
from torch import Tensor, nn

from heads._checks import check_number, check_positive_int
from heads._necked import Necked
from heads.calibration import stretch
from heads.classifier import HeadOutput, MapClassifier
from heads.encoding import SPPBlock


class AdversarialClassifier(Necked):
    """The head of ACoL: features for the second classifier are erased where the map of the first one is high.

    Each classifier (``first``, ``second``) is two 3x3 convolutions of `hidden` channels with ReLU and a
    `MapClassifier`. Each map of the first one is stretched to [0, 1]; for the second one, features become 0 at
    locations where the map of a class is at least `threshold`. In training these classes are the present ones, passed
    to `both`; a location is erased if it is high for any of them. Otherwise the class with the first classifier's
    highest score is taken. No gradient flows through the choice of locations.

    The scores are those of the first classifier. The map of a class is the elementwise maximum of both classifiers'
    maps, each stretched to [0, 1]: its values are comparable within an image, not between images. A constant map
    becomes 0 and erases nothing.

    Shape:
        (N, in_channels, h, w) -> scores (N, num_classes), maps (N, num_classes, h, w); or without N.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: as for `MapClassifier`, or the threshold is not in (0, 1].

    Source: Zhang et al., Adversarial Complementary Learning for Weakly Supervised Object Localization, CVPR 2018. The
    authors' code supports one label per image, and divides by zero if a map is constant.

    >>> head, features = AdversarialClassifier(8, 3, hidden=16), torch.randn(2, 8, 7, 5)
    >>> scores, maps = head(features)
    >>> torch.equal(scores, head.first(features).scores), maps.shape, maps.amax((2, 3)).unique().tolist()
    (True, torch.Size([2, 3, 7, 5]), [1.0])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pooling: str = "gap",
        maps_per_class: int = 1,
        neck: str | SPPBlock | None = None,
        threshold: float = 0.7,
        hidden: int = 1024,
    ) -> None:
        super().__init__(in_channels, neck)
        if not 0 < check_number(threshold, "threshold") <= 1:
            raise ValueError(f"threshold is {threshold}, expected a fraction of the map's range in (0, 1]: try 0.7")
        self.threshold, self.hidden = float(threshold), check_positive_int(hidden, "hidden")
        self.first, self.second = (
            nn.Sequential(
                *_convolutions(self.head_channels, self.hidden),
                MapClassifier(self.hidden, num_classes, pooling, maps_per_class),
            )
            for _ in range(2)
        )

    def forward(self, features: Tensor) -> HeadOutput:
        """Features to the first classifier's scores and the combined maps of both."""
        first, second = self.both(features)
        with torch.autocast(features.device.type, enabled=False):
            maps = torch.maximum(stretch(_exact(first.maps)), stretch(_exact(second.maps)))
        return HeadOutput(first.scores, maps)

    def both(self, features: Tensor, present: Tensor | None = None) -> tuple[HeadOutput, HeadOutput]:
        """Scores and maps of each classifier.

        ``present`` (N, num_classes), boolean, marks the classes to erase; by default the class of highest score.
        """
        features = self._enter(features)
        first: HeadOutput = self.first(features)
        if present is None:
            classes = torch.arange(first.scores.shape[-1], device=features.device)
            present = first.scores.argmax(-1, keepdim=True) == classes
        erased = self._erased(first.maps.detach(), present)
        second: HeadOutput = self.second(features * ~erased)
        return first, second

    def _erased(self, maps: Tensor, present: Tensor) -> Tensor:
        """Whether a location (N, 1, h, w) is high in the map of a class that is present."""
        with torch.autocast(maps.device.type, enabled=False):
            high = stretch(_exact(maps)) >= self.threshold
        return (high & present[..., None, None]).any(-3, keepdim=True)


def _convolutions(in_channels: int, hidden: int) -> list[nn.Module]:
    """Two 3x3 convolutions, each with ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, hidden):
        convolution = nn.Conv2d(channels, hidden, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
        layers += [convolution, nn.ReLU(inplace=True)]
    return layers


def _exact(maps: Tensor) -> Tensor:
    """Maps in at least float32: half precision would put locations on the wrong side of a threshold."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))
