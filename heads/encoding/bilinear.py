"""Bilinear pooling: mean products of pairs of channels."""

from torch import Tensor

from heads._checks import accumulation_dtype, check_features, check_flag, check_maps, check_positive_int
from heads.encoding._encoder import Encoder
from heads.encoding._normalisation import signed_sqrt as _signed_sqrt
from heads.encoding._normalisation import unit_length


def bilinear(features: Tensor, other: Tensor | None = None, *, signed_sqrt: bool = True, l2: bool = True) -> Tensor:
    """The outer product of two feature vectors, averaged over the locations and flattened.

    ``other`` is a second source with the same locations; without one, the features are paired with themselves. The
    signed square root and the L2 norm follow, each of which can be left out. The root's slope is unbounded at zero: see
    `heads.encoding.signed_sqrt` for how this is avoided.

    Shape:
        (N, C, H, W) and (N, C', H, W) -> (N, C * C'), or without N; row by row of the (C, C') matrix.

    Raises:
        TypeError, ValueError: features of the wrong type or shape; sources of different locations.

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
        TypeError, ValueError: features of the wrong type or shape; sources of different images or locations.
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
    """The mean of the columns' outer products, (..., C, n) and (..., C', n) to (..., C, C')."""
    # Divided before the product, because the sum of products could overflow where their mean does not.
    return left / left.shape[-1] @ right.mT


def evened(vectors: Tensor, *, signed_sqrt: bool, l2: bool) -> Tensor:
    """Vectors after the signed square root and the L2 norm, if enabled."""
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
    """Check that a second source is given if and only if one is expected, with its number of channels.

    Raises:
        TypeError: a source is missing or unexpected.
        ValueError: the number of channels is another one.
    """
    if (other is None) != (channels is None):
        given, build = ("one source", "two sources") if other is None else ("two sources", "one source")
        raise TypeError(f"{given} for an encoder of {build}: other_channels says how many there are, and is {channels}")
    if other is not None and channels is not None:
        check_features(other, channels, "other")
