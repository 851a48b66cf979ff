"""Spatial pyramid pooling with stride 1, as in YOLO: maps to maps."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from heads._checks import check_maps, check_positive_int
from heads._specified import Specified


def sppblock(features: Tensor, kernels: Sequence[int] = (5, 9, 13)) -> Tensor:
    """The features concatenated with their maxima in square windows around each location, one block per window.

    It keeps the locations, so it is a neck rather than an encoder, for use between a backbone and any head, including
    `heads.MapClassifier` with its class maps. It adds context to each location.

    Shape:
        (N, C, H, W) -> (N, C * (1 + len(kernels)), H, W), or without N; the features come first, then the windows in
        the order of ``kernels``.

    Raises:
        TypeError, ValueError: ``features`` of the wrong type or shape; a kernel that is even or no count, or none.

    Source: Redmon and Farhadi, YOLOv3-SPP (darknet); Bochkovskiy et al., YOLOv4, 2020; Huang et al., DC-SPP-YOLO, 2020.

    >>> sppblock(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]), kernels=(3,)).tolist()
    [[[1.0, 5.0, 2.0, 3.0]], [[5.0, 5.0, 5.0, 3.0]]]
    """
    check_maps(features, "features")
    kernels = _check_kernels(kernels)
    widest = {1: features}
    # Windows of windows: 5 of 5 is 9, and 5 of that is 13, at a third of the comparisons.
    for smaller, larger in pairwise(sorted({1, *kernels})):
        step = larger - smaller
        widest[larger] = F.max_pool2d(widest[smaller], step + 1, stride=1, padding=step // 2)
    return torch.cat([features, *(widest[kernel] for kernel in kernels)], -3)


def _check_kernels(kernels: object) -> tuple[int, ...]:
    if not isinstance(kernels, Sequence) or isinstance(kernels, str):
        raise TypeError(f"kernels is {kernels!r}, expected the sides of the windows: try kernels=(5, 9, 13)")
    if not kernels:
        raise ValueError("kernels is empty, expected the sides of the windows: try kernels=(5, 9, 13)")
    checked = tuple(check_positive_int(kernel, "a kernel") for kernel in kernels)
    for kernel in checked:
        if kernel % 2 == 0:
            raise ValueError(
                f"a kernel is {kernel}, expected an odd side, which keeps the maps' size: try {kernel + 1}"
            )
    return checked


class SPPBlock(Specified):
    """YOLO's spatial pyramid: features concatenated with their maxima in windows of stride 1.

    >>> from heads import MapClassifier
    >>> head = MapClassifier(256, 20, pooling="kmax(k=0.2)", neck=SPPBlock(kernels=(5, 9, 13)))
    >>> head.neck, head.conv.in_channels, head(torch.zeros(1, 256, 14, 14)).maps.shape
    (sppblock(kernels=(5, 9, 13)), 1024, torch.Size([1, 20, 14, 14]))
    """

    def __init__(self, kernels: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        self.kernels = _check_kernels(kernels)

    def out_channels(self, in_channels: int) -> int:
        """The number of output channels."""
        return in_channels * (1 + len(self.kernels))

    def forward(self, features: Tensor) -> Tensor:
        """Features to features with more channels: see `sppblock`."""
        return sppblock(features, self.kernels)
