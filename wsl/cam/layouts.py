"""Layouts of layer outputs, which become maps: channels first, channels last, or a sequence of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

Kind = Literal["nchw", "nhwc", "tokens"]

# None, a class token, a distillation token, 4 or 8 registers, and combinations of these.
_PREFIXES = (0, 1, 2, 4, 5, 8, 9)


class Layout(NamedTuple):
    """Which axes of a tensor hold the channels and the rows and columns of a map of ``size`` (h, w).

    ``prefix`` is the number of class and register tokens before the patches, 0 for maps.
    """

    kind: Kind
    size: tuple[int, int]
    prefix: int = 0

    @property
    def channel_axis(self) -> int:
        """The axis of the channels in a batch."""
        return {"nchw": 1, "nhwc": 3, "tokens": 2}[self.kind]


def find_layout(
    shape: Sequence[int],
    image_size: tuple[int, int],
    *,
    kind: Kind | None = None,
    size: tuple[int, int] | None = None,
    prefix: int | None = None,
) -> Layout | None:
    """The layout of a tensor of this shape for images of (height, width); None if it has no spatial extent.

    A map has about the aspect ratio of its image: this distinguishes (N, C, h, w) from (N, h, w, C), and determines how
    many of the tokens (N, T, C) come before the patches. If both readings of four axes fit, channels come first; if
    several prefixes fit, the smallest is taken. `kind`, `size` and `prefix` are given if they are known; a shape that
    contradicts them has no layout.

    >>> find_layout((2, 512, 7, 7), (224, 224))
    Layout(kind='nchw', size=(7, 7), prefix=0)
    >>> find_layout((2, 7, 7, 768), (224, 224)).kind
    'nhwc'
    >>> find_layout((2, 201, 384), (224, 224))
    Layout(kind='tokens', size=(14, 14), prefix=5)
    >>> find_layout((2, 1000), (224, 224)) is None
    True
    """
    if len(shape) == 3 and kind in (None, "tokens"):
        found = _tokens(shape[1], image_size, size, prefix)
    elif len(shape) == 4 and kind != "tokens" and not prefix:
        found = _channelled(shape, image_size, kind, size)
    else:
        return None
    return found if found is not None and math.prod(found.size) > 1 else None


def likely_layout(shape: Sequence[int], image_size: tuple[int, int], prefix: int | None) -> Layout | None:
    """The layout with the network's own prefix if it fits, else any layout that fits.

    >>> likely_layout((2, 50, 8), (224, 224), prefix=1)
    Layout(kind='tokens', size=(7, 7), prefix=1)
    >>> likely_layout((2, 8, 7, 7), (224, 224), prefix=1).kind
    'nchw'
    """
    return find_layout(shape, image_size, prefix=prefix) or find_layout(shape, image_size)


def to_map(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    """A differentiable view, channels first, of a layer's output or of a stack of its gradients.

    Shape:
        (N, C, h, w), (N, h, w, C) or (N, T, C) to (N, C, h, w); further leading axes are kept.

    >>> tokens = torch.arange(5.0).view(1, 5, 1)
    >>> to_map(tokens, Layout("tokens", (2, 2), prefix=1)).tolist()
    [[[[1.0, 2.0], [3.0, 4.0]]]]
    """
    if layout.kind == "nchw":
        return tensor
    if layout.kind == "nhwc":
        return tensor.movedim(-1, -3)
    patches = tensor[..., layout.prefix :, :].transpose(-1, -2)
    return patches.reshape(*patches.shape[:-1], *layout.size)


def _channelled(
    shape: Sequence[int], image_size: tuple[int, int], kind: Kind | None, size: tuple[int, int] | None
) -> Layout | None:
    layouts = (Layout("nchw", (shape[2], shape[3])), Layout("nhwc", (shape[1], shape[2])))
    possible = [
        layout
        for layout in layouts
        if kind in (None, layout.kind)
        and size in (None, layout.size)
        and all(1 <= cells <= side for cells, side in zip(layout.size, image_size, strict=True))
    ]
    return min(possible, key=lambda layout: _distortion(layout.size, image_size), default=None)


def _tokens(count: int, image_size: tuple[int, int], size: tuple[int, int] | None, prefix: int | None) -> Layout | None:
    if size is not None:
        before = count - math.prod(size)
        return Layout("tokens", size, before) if before >= 0 and prefix in (None, before) else None
    prefixes = _PREFIXES if prefix is None else (prefix,)
    for alike in (True, False):
        for before in prefixes:
            for height in range(1, count - before + 1):
                found = height, (count - before) // height
                if math.prod(found) == count - before > 1 and _fits(found, image_size, alike):
                    return Layout("tokens", found, before)
    return None


def _fits(size: tuple[int, int], image_size: tuple[int, int], alike: bool) -> bool:
    """Whether patches of some integer size divide the image into this grid, rounding both sides alike if ``alike``."""
    if image_size[0] == image_size[1]:
        return size[0] == size[1] <= image_size[0]
    down, up = (
        [_patches(side, cells)[which] for side, cells in zip(image_size, size, strict=True)] for which in (0, 1)
    )
    if alike:
        return any(_overlap(*both) for both in (down, up))
    return any(_overlap(one, other) for one in (down[0], up[0]) for other in (down[1], up[1]))


def _patches(side: int, cells: int) -> tuple[range, range]:
    """The patch sizes that divide a side into this many cells, rounding the number down, and rounding it up."""
    down = range(side // (cells + 1) + 1, side // cells + 1)
    up = range(-(-side // cells), -(-side // (cells - 1)) if cells > 1 else 2 * side)
    return down, up


def _overlap(one: range, other: range) -> bool:
    return max(one.start, other.start, 1) < min(one.stop, other.stop)


def _distortion(size: tuple[int, int], image_size: tuple[int, int]) -> float:
    """The absolute log ratio of the aspect ratios of a map and its image, rounded to hide floating-point errors."""
    return round(abs(math.log(size[0] * image_size[1] / (size[1] * image_size[0]))), 9)
