"""SoftPool block by block, as many planes at a time as fit into the cache, forward and backward."""

import functools
from typing import Any

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.downsampling._blocks import Blocks, layout
from heads.downsampling._places import Places
from heads.downsampling._softpool_definition import defined_softpool
from heads.downsampling._sums import WindowSums
from heads.downsampling._views import LOWEST
from heads.downsampling._window import Window

# exp() of half of it, up and down, leaves room in float32 for the products, sums and quotients of any window.
_WIDEST = 60.0


class SoftPoolFunction(torch.autograd.Function):
    """SoftPool with a backward pass of its own, which keeps nothing but the maps.

    The gradient of a window's y to its x is w * (1 + x - y), w being the softmax.
    """

    @staticmethod
    def forward(maps: Tensor, window: Window) -> Tensor:
        """SoftPool of the maps."""
        dims = len(window.kernel)
        size = (*maps.shape[:-dims], *window.output_size(maps.shape[-dims:]))
        result = torch.empty(size, dtype=maps.dtype, device=maps.device, memory_format=layout(maps, dims))
        arithmetic = _Arithmetic(maps, window)
        for values, pooled in arithmetic.blocks.cut(maps, result):
            arithmetic.choose(values).pool(pooled)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Window], output: Tensor) -> None:
        """Keep the maps."""
        maps, ctx.window = inputs
        ctx.save_for_backward(maps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of the maps; by the definition where that is to be differentiated once more."""
        (maps,) = ctx.saved_tensors
        window = ctx.window
        if torch.is_grad_enabled():
            return torch.func.vjp(lambda values: defined_softpool(values, window), maps)[1](gradient)[0], None
        result = torch.empty_like(maps, memory_format=layout(maps, len(window.kernel)))
        arithmetic = _Arithmetic(maps, window)
        for values, pulled, total in arithmetic.blocks.cut(maps, gradient, result):
            arithmetic.choose(values).pull(pulled, total)
        return result, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], maps: Tensor, window: Window) -> tuple[Tensor, int]:
        """One more dimension in front."""
        result: Tensor = SoftPoolFunction.apply(maps.movedim(in_dims[0], 0), window)
        return result, 0


class _Arithmetic:
    """Which of two ways a block goes, each with buffers for one pass that are made when they are needed.

    Where windows overlap, exp() is taken once a value, relative to the middle of its block, and not once a window: the
    ratio of two sums does not depend on what both are relative to. Where they do not, or where the block's values lie
    too far apart for that, each window has its own maximum.
    """

    def __init__(self, maps: Tensor, window: Window) -> None:
        self.blocks = Blocks(maps, len(window.kernel))
        self._window = window
        self._like = maps.new_empty((), dtype=accumulation_dtype(maps))
        self._overlap = any(reach > step for reach, step in zip(window.reach(), window.stride, strict=True))
        self._shared: _SharedExponentials | None = None
        self._own: _OwnMaxima | None = None

    def choose(self, values: Tensor) -> "_SharedExponentials | _OwnMaxima":
        """The way of a block, which it is loaded into."""
        if self._overlap:
            low, high = (float(bound) for bound in torch.aminmax(values))
            if high - low <= _WIDEST:
                self._shared = self._shared or _SharedExponentials(self._window, self.blocks, self._like)
                self._shared.load(values, (low + high) / 2)
                return self._shared
        self._own = self._own or _OwnMaxima(self._window, self.blocks, self._like)
        self._own.load(values)
        return self._own


class _SharedExponentials:
    """One exponential a value, and sums over windows."""

    def __init__(self, window: Window, blocks: Blocks, like: Tensor) -> None:
        self._make = functools.partial(WindowSums, window, blocks.sizes, (2, blocks.lead), blocks.inner, like)
        self._sums = self._make()
        self._spread: WindowSums | None = None
        self._values = like.new_empty((blocks.lead, *blocks.sizes, *blocks.inner))
        self._middle = 0.0

    def load(self, values: Tensor, middle: float) -> None:
        """Exponentials and products of a block."""
        self._middle = middle
        if values.dtype == self._values.dtype:
            torch.sub(values, middle, out=self._values)
        else:  # not in half precision, as torch.sub would
            self._values.copy_(values).sub_(middle)
        weights, weighted = self._sums.target.unbind()
        torch.exp(self._values, out=weights)
        torch.mul(weights, self._values, out=weighted)

    def pool(self, result: Tensor) -> None:
        """The windows' means."""
        total, lowered = self._sums.sums().unbind()
        torch.add(lowered.div_(total), self._middle, out=result)

    def pull(self, gradient: Tensor, result: Tensor) -> None:
        """The gradient of the block: exp(x) * ((1 + x) * sum(g / total) - sum(g / total * y)), over x's windows."""
        total, mean = self._sums.sums().unbind()
        mean.div_(total)
        torch.div(gradient, total, out=total)
        mean.mul_(total)
        self._spread = self._spread or self._make()
        parts, means = self._spread.spread(self._sums.result).unbind()
        weights = self._sums.target[0]
        torch.mul(self._values.add_(1).mul_(parts).sub_(means), weights, out=result)


class _OwnMaxima:
    """One exponential for each place of each window."""

    def __init__(self, window: Window, blocks: Blocks, like: Tensor) -> None:
        self._make = functools.partial(Places, window, blocks, like=like)
        self._places = self._make(fill=LOWEST)
        self._spread: Places | None = None
        views = self._places.views
        self._peak = torch.empty_like(views[0], memory_format=torch.contiguous_format)
        self._total, self._mean = torch.empty_like(self._peak), torch.empty_like(self._peak)
        self._below = like.new_empty((len(views), *self._peak.shape))
        self._weights = torch.empty_like(self._below)

    def load(self, values: Tensor) -> None:
        """Exponentials relative to each window's maximum, their sum, and the mean relative to that maximum."""
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
        self._spread = self._spread or self._make(fill=0.0)
        self._spread.clear()
        for view, part in zip(self._spread.views, self._below, strict=True):
            view.add_(part)
        self._spread.store(result)
