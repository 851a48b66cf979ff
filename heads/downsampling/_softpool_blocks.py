"""SoftPool block by block: of planes that fit into the cache, the exponentials, then the sums of their windows."""

from typing import Any

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.downsampling._blocks import Blocks, layout
from heads.downsampling._softpool_definition import defined_softpool
from heads.downsampling._sums import WindowSums
from heads.downsampling._window import Window

# exp() of half of it, up and down, leaves room in float32 for the products, sums and quotients of any window.
_WIDEST = 60.0


class SoftPoolFunction(torch.autograd.Function):
    """SoftPool with a backward pass of its own, which keeps nothing but the maps.

    exp() is taken once a value, relative to the middle of its block, and not once a window: the ratio of two sums does
    not depend on what both are relative to. A block whose values lie too far apart for that goes through the
    definition, where each window has a maximum of its own.

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
            if arithmetic.load(values):
                arithmetic.pool(pooled)
            else:
                pooled.copy_(
                    arithmetic.blocks.turn(defined_softpool(arithmetic.blocks.turn(values), window), back=True)
                )
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

        def definition(values: Tensor) -> Tensor:
            return defined_softpool(values, window)

        if torch.is_grad_enabled():
            return torch.func.vjp(definition, maps)[1](gradient)[0], None
        result = torch.empty_like(maps, memory_format=layout(maps, len(window.kernel)))
        arithmetic = _Arithmetic(maps, window)
        for values, pulled, total in arithmetic.blocks.cut(maps, gradient, result):
            if arithmetic.load(values):
                arithmetic.pull(pulled, total)
            else:
                pull = torch.func.vjp(definition, arithmetic.blocks.turn(values))[1]
                total.copy_(arithmetic.blocks.turn(pull(arithmetic.blocks.turn(pulled))[0], back=True))
        return result, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], maps: Tensor, window: Window) -> tuple[Tensor, int]:
        """One more dimension in front."""
        result: Tensor = SoftPoolFunction.apply(maps.movedim(in_dims[0], 0), window)
        return result, 0


class _Arithmetic:
    """The buffers of one pass, and what is computed of one block in them."""

    def __init__(self, maps: Tensor, window: Window) -> None:
        self.blocks = Blocks(maps, len(window.kernel))
        self._window = window
        self._like = maps.new_empty((), dtype=accumulation_dtype(maps))
        self._values = self._like.new_empty((self.blocks.lead, *self.blocks.sizes, *self.blocks.inner))
        self._sums = self._buffers()
        self._spread: WindowSums | None = None
        self._middle = 0.0

    def _buffers(self) -> WindowSums:
        blocks = self.blocks
        return WindowSums(self._window, blocks.sizes, (2, blocks.lead), blocks.inner, self._like)

    def load(self, values: Tensor) -> bool:
        """Exponentials and products of a block; False, and nothing, where its values lie too far apart."""
        low, high = (float(bound) for bound in torch.aminmax(values))
        if not high - low <= _WIDEST:
            return False
        self._middle = (low + high) / 2
        if values.dtype == self._values.dtype:
            torch.sub(values, self._middle, out=self._values)
        else:  # not in half precision, as torch.sub would
            self._values.copy_(values).sub_(self._middle)
        weights, weighted = self._sums.target.unbind()
        torch.exp(self._values, out=weights)
        torch.mul(weights, self._values, out=weighted)
        return True

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
        if self._spread is None:
            self._spread = self._buffers()
        parts, means = self._spread.spread(self._sums.result).unbind()
        weights = self._sums.target[0]
        torch.mul(self._values.add_(1).mul_(parts).sub_(means), weights, out=result)
