"""Bilinear pooling: how often two channels fire together."""

from torch import Tensor

from heads._checks import accumulation_dtype, check_features, check_flag, check_maps, check_positive_int
from heads.encoding._encoder import Encoder
from heads.encoding._normalisation import signed_sqrt as _signed_sqrt
from heads.encoding._normalisation import unit_length


def bilinear(features: Tensor, other: Tensor | None = None, *, signed_sqrt: bool = True, l2: bool = True) -> Tensor:
    """The outer product of two feature vectors, averaged over the locations, flattened.

    ``other`` is a second source of as many locations; without one, the features meet themselves. Then come the
    signed square root and the L2 norm, each of which can be left out. The root's slope has no bound at zero: see
    `heads.encoding.signed_sqrt` for what stands there.

    Shape:
        (N, C, H, W) and (N, C', H, W) -> (N, C * C'), or without N; row by row of the (C, C') matrix.

    Raises:
        TypeError, ValueError: features of another kind or shape; sources of different locations.

    Source: Lin et al., Bilinear CNN models for fine-grained visual recognition, ICCV 2015.

    >>> import torch
    >>> bilinear(torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]), signed_sqrt=False, l2=False)
    tensor([2.5000, 1.5000, 1.5000, 4.5000])
    """
    left, right = paired_columns(features, other)
    return evened(mean_outer_product(left, right).flatten(-2), signed_sqrt=signed_sqrt, l2=l2).to(features.dtype)


def paired_columns(features: Tensor, other: Tensor | None) -> tuple[Tensor, Tensor]:
    """The features of both sources, (..., C, n) and (..., C', n), in `accumulation_dtype`.

    Raises:
        TypeError, ValueError: features of another kind or shape; sources of different images or locations.
    """
    check_maps(features, "features")
    left = features.flatten(-2).to(accumulation_dtype(features))
    if other is None:
        return left, left
    check_maps(other, "other")
    if (*other.shape[:-3], *other.shape[-2:]) != (*features.shape[:-3], *features.shape[-2:]):
        raise ValueError(
            f"other has shape {tuple(other.shape)} beside features of {tuple(features.shape)}, expected as many "
            "images and locations: resize one to the other"
        )
    return left, other.flatten(-2).to(left.dtype)


def mean_outer_product(left: Tensor, right: Tensor) -> Tensor:
    """The mean over the columns of their outer products, (..., C, n) and (..., C', n) to (..., C, C')."""
    # Divided before they are multiplied: the product of two large features would overflow sooner than their mean.
    return left / left.shape[-1] @ right.mT


def evened(vectors: Tensor, *, signed_sqrt: bool, l2: bool) -> Tensor:
    """Vectors after the signed square root and the L2 norm, where asked."""
    if signed_sqrt:
        vectors = _signed_sqrt(vectors)
    return unit_length(vectors) if l2 else vectors


class Bilinear(Encoder):
    """Bilinear pooling of one feature map, or of two: C * C' outputs, 262,144 for one source of 512 channels.

    >>> Bilinear(512), Bilinear(512).out_features
    (bilinear, 262144)
    """

    def __init__(
        self, in_channels: int, *, other_channels: int | None = None, signed_sqrt: bool = True, l2: bool = True
    ) -> None:
        super().__init__(in_channels)
        self.other_channels = check_other(other_channels)
        self.signed_sqrt = check_flag(signed_sqrt, "signed_sqrt")
        self.l2 = check_flag(l2, "l2")
        self.out_features = self.in_channels * (self.other_channels or self.in_channels)

    def forward(self, features: Tensor, other: Tensor | None = None) -> Tensor:
        """Features to vectors: see `bilinear`."""
        self._check(features)
        check_source(other, self.other_channels)
        return bilinear(features, other, signed_sqrt=self.signed_sqrt, l2=self.l2)


def check_other(other_channels: int | None) -> int | None:
    """The channels of a second source, or None for an encoder of one."""
    return None if other_channels is None else check_positive_int(other_channels, "other_channels")


def check_source(other: Tensor | None, channels: int | None) -> None:
    """A second source where one was announced, of its channels.

    Raises:
        TypeError: a source too many or too few.
        ValueError: another number of channels.
    """
    if (other is None) != (channels is None):
        given, build = ("one source", "two sources") if other is None else ("two sources", "one source")
        raise TypeError(f"{given} for an encoder of {build}: other_channels says how many there are, and is {channels}")
    if other is not None and channels is not None:
        check_features(other, channels, "other")
