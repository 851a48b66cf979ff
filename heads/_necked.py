"""What either head has before its own: a check of the features, and perhaps a neck."""

from torch import Tensor, nn

from heads._checks import check_features, check_positive_int
from heads.encoding import SPPBlock
from heads.spec import create_neck


class Necked(nn.Module):
    """A head of features with ``in_channels`` channels, of which the neck makes ``channels_behind``.

    >>> Necked(256, "sppblock(kernels=(3,))").channels_behind
    512
    """

    def __init__(self, in_channels: int, neck: str | SPPBlock | None) -> None:
        super().__init__()
        self.in_channels = check_positive_int(in_channels, "in_channels")
        self.neck = create_neck(neck) if isinstance(neck, str) else neck

    @property
    def channels_behind(self) -> int:
        """Channels of what the neck gives; without one, of the features."""
        return self.in_channels if self.neck is None else self.neck.out_channels(self.in_channels)

    def _enter(self, features: Tensor) -> Tensor:
        """Features, checked, to what lies behind the neck."""
        check_features(features, self.in_channels, of="head")
        return self._through_neck(features)

    def _through_neck(self, features: Tensor) -> Tensor:
        return features if self.neck is None else self.neck(features)
