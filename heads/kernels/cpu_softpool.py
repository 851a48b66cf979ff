"""Windowed SoftPool on the CPU, block by block, forward and backward."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.kernels.cpu_blocks import Blocks, Places, layout
from heads.kernels.function import Kernel

if TYPE_CHECKING:  # the poolings import the kernels
    from heads.downsampling._window import Window

# Below all values that occur, and finite: its exponential is 0, and 0 times it is 0 rather than NaN.
_LOWEST = torch.finfo(torch.float32).min / 4


class WindowSoftPool(Kernel):
    """SoftPool that keeps only the maps for the backward pass.

    The gradient of a window's result y with respect to its x is w * (1 + x - y), where w is the softmax.
    """

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """All maps."""
        return True

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The value of each window."""
        (window,) = settings
        dims = len(window.kernel)
        size = (*values.shape[:-dims], *window.output_size(values.shape[-dims:]))
        result = torch.empty(size, dtype=values.dtype, memory_format=layout(values, dims))
        windows = _Windows(values, window)
        for block, pooled in windows.blocks.cut(values, result):
            windows.load(block)
            windows.pool(pooled)
        return result, ()

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """The gradient of the maps."""
        (window,) = settings
        result = torch.empty_like(values, memory_format=layout(values, len(window.kernel)))
        windows = _Windows(values, window)
        for block, pulled, total in windows.blocks.cut(values, gradient, result):
            windows.load(block)
            windows.pull(pulled, total)
        return result, None


class _Windows:
    """Exponentials of a block at each place of each window, relative to the window's maximum, and their sums."""

    def __init__(self, maps: Tensor, window: "Window") -> None:
        self.blocks = Blocks(maps, len(window.kernel))
        self._window = window
        self._like = maps.new_empty((), dtype=accumulation_dtype(maps))
        self._places = Places(window, self.blocks, fill=_LOWEST, like=self._like)
        self._spread: Places | None = None
        views = self._places.views
        self._peak = torch.empty_like(views[0], memory_format=torch.contiguous_format)
        self._total, self._mean = torch.empty_like(self._peak), torch.empty_like(self._peak)
        self._below = self._like.new_empty((len(views), *self._peak.shape))
        self._weights = torch.empty_like(self._below)

    def load(self, values: Tensor) -> None:
        """Exponentials, their sum, and the mean relative to the maximum."""
        self._places.load(values)
        views = self._places.views
        self._peak.copy_(views[0])
        for view in views[1:]:
            torch.maximum(self._peak, view, out=self._peak)
        for view, below in zip(views, self._below, strict=True):
            torch.sub(view, self._peak, out=below)
        torch.exp(self._below, out=self._weights)
        torch.sum(self._weights, 0, out=self._total)
        torch.mul(self._below[0], self._weights[0], out=self._mean)
        for below, weights in zip(self._below[1:], self._weights[1:], strict=True):
            self._mean.addcmul_(below, weights)
        self._mean.div_(self._total)

    def pool(self, result: Tensor) -> None:
        """The windows' means."""
        torch.add(self._mean, self._peak, out=result)

    def pull(self, gradient: Tensor, result: Tensor) -> None:
        """The gradient of the block: g / total * exp(x) * (1 + x - y) at each place, x and y below the maximum."""
        torch.div(gradient, self._total, out=self._total)
        self._below.add_(self._mean.neg_().add_(1)).mul_(self._weights).mul_(self._total)
        self._spread = self._spread or Places(self._window, self.blocks, fill=0.0, like=self._like)
        self._spread.clear()
        for view, share in zip(self._spread.views, self._below, strict=True):
            view.add_(share)
        self._spread.store(result)
