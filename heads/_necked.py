"""The first steps of both heads: check the features, and apply the neck if there is one."""

from torch import Tensor, nn

from heads._checks import check_features, check_positive_int
from heads.encoding import SPPBlock
from heads.spec import create_neck


class Necked(nn.Module):
    """A head for features with ``in_channels`` channels, which the neck converts to ``head_channels``.

    >>> Necked(256, "sppblock(kernels=(3,))").head_channels
    512
    """

    def __init__(self, in_channels: int, neck: str | SPPBlock | None) -> None:
        super().__init__()
        self.in_channels = check_positive_int(in_channels, "in_channels")
        self.neck = create_neck(neck) if isinstance(neck, str) else neck

    @property
    def head_channels(self) -> int:
        """Input channels of the convolution or encoder: those of the neck's output, or of the features."""
        return self.in_channels if self.neck is None else self.neck.out_channels(self.in_channels)

    def _enter(self, features: Tensor) -> Tensor:
        """Check the features and pass them through the neck."""
        check_features(features, self.in_channels, of="head")
        return self._through_neck(features)

    def _through_neck(self, features: Tensor) -> Tensor:
        return features if self.neck is None else self.neck(features)
