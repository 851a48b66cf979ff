"""The base class of encoders."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor

from heads._checks import check_features, check_positive_int
from heads._specified import Specified


class Encoder(Specified):
    """An encoder of feature maps as vectors: (N, C, H, W) -> (N, D), or (C, H, W) -> (D,), for any H and W.

    ``in_channels`` is C and comes from the backbone, so the spec does not contain it; ``out_features`` is D. An encoder
    of two sources takes a second tensor with the same locations and ``other_channels`` channels.

    >>> from heads.encoding import SPP
    >>> encoder = SPP(512, levels=(2, 1))
    >>> encoder, encoder.out_features
    (spp(levels=(2, 1)), 2560)
    """

    unspecified: ClassVar[frozenset[str]] = frozenset({"in_channels"})
    out_features: int
    other_channels: int | None = None

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = check_positive_int(in_channels, "in_channels")

    def needs_fit(self) -> bool:
        """Whether `initialise` has yet to be called with features of the training images."""
        return False

    def initialise(self, features: Iterable[Tensor], *, generator: torch.Generator | None = None) -> None:
        """Set parameters from data before training; most encoders have no such parameters and read nothing."""

    def _check(self, features: Tensor, name: str = "features") -> None:
        check_features(features, self.in_channels, name)
