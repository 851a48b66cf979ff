"""SoftPool block by block: of planes that fit into the cache, the exponentials, then the sums of their windows."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.downsampling._softpool_definition import defined_softpool
from heads.downsampling._sums import WindowSums
from heads.downsampling._window import Window

# Values of a block: enough to keep a core busy, few enough for its cache.
BLOCK = 1 << 17
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
        result = torch.empty(size, dtype=maps.dtype, device=maps.device, memory_format=_layout(maps, dims))
        arithmetic = _Arithmetic(maps, window)
        for values, pooled in arithmetic.blocks(maps, result):
            if arithmetic.load(values):
                pooled.copy_(arithmetic.pool())
            else:
                pooled.copy_(arithmetic.turn(defined_softpool(arithmetic.turn(values), window), back=True))
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
        result = torch.empty_like(maps, memory_format=_layout(maps, len(window.kernel)))
        arithmetic = _Arithmetic(maps, window)
        for values, pulled, total in arithmetic.blocks(maps, gradient, result):
            if arithmetic.load(values):
                total.copy_(arithmetic.pull(pulled))
            else:
                pull = torch.func.vjp(definition, arithmetic.turn(values))[1]
                total.copy_(arithmetic.turn(pull(arithmetic.turn(pulled))[0], back=True))
        return result, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], maps: Tensor, window: Window) -> tuple[Tensor, int]:
        """One more dimension in front."""
        result: Tensor = SoftPoolFunction.apply(maps.movedim(in_dims[0], 0), window)
        return result, 0


def _layout(maps: Tensor, dims: int) -> torch.memory_format:
    """Whether channels are neighbours in memory, so that windows are summed for all of them at once."""
    plain = dims != 2 or maps.ndim != 4 or maps.is_contiguous()
    if plain or not maps.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


class _Arithmetic:
    """The buffers of one pass, and what is computed of one block in them.

    A block is (planes, *sizes), or (images, H, W, C) where channels are last in memory.
    """

    def __init__(self, maps: Tensor, window: Window) -> None:
        self._window, self._dims = window, len(window.kernel)
        self._sizes = maps.shape[-self._dims :]
        self._last = _layout(maps, self._dims) == torch.channels_last
        self._inner = (maps.shape[1],) if self._last else ()
        shape = (*self._sizes, *self._inner)
        # Other devices have no cache to stay in, and each call costs them the same.
        planes = BLOCK // max(1, torch.Size(shape).numel()) if maps.device.type == "cpu" else 1 << 10
        self._lead = max(1, min(planes, maps.numel() // max(1, torch.Size(shape).numel())))
        like = maps.new_empty((), dtype=accumulation_dtype(maps))
        self._like = like
        self._sums = WindowSums(window, self._sizes, (2, self._lead), self._inner, like)
        self._values = like.new_empty((self._lead, *shape))
        self._spread: WindowSums | None = None
        self._middle = 0.0

    def blocks(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same planes of all tensors, as views of them; the last block may repeat some of the one before."""
        rows = [self._rows(tensor) for tensor in tensors]
        count = len(rows[0])
        for start in range(0, count, self._lead):
            first = min(start, count - self._lead)
            yield tuple(row[first : first + self._lead] for row in rows)

    def _rows(self, tensor: Tensor) -> Tensor:
        if self._last:
            return tensor.movedim(1, -1)
        return tensor.reshape(-1, *tensor.shape[-self._dims :])

    def turn(self, block: Tensor, *, back: bool = False) -> Tensor:
        """A block with its windows in the last dimensions, or back."""
        if not self._last:
            return block
        return block.movedim(1, -1) if back else block.movedim(-1, 1)

    def load(self, values: Tensor) -> bool:
        """Exponentials and products of a block; False, and nothing, where its values lie too far apart."""
        low, high = (float(bound) for bound in torch.aminmax(values))
        if not high - low <= _WIDEST:
            return False
        self._middle = (low + high) / 2
        self._values.copy_(values).sub_(self._middle)
        weights, weighted = self._sums.target.unbind()
        torch.exp(self._values, out=weights)
        torch.mul(weights, self._values, out=weighted)
        return True

    def pool(self) -> Tensor:
        """The windows' means."""
        total, lowered = self._sums.sums().unbind()
        return lowered.div_(total).add_(self._middle)

    def pull(self, gradient: Tensor) -> Tensor:
        """The gradient of the block: exp(x) * ((1 + x) * sum(g / total) - sum(g / total * y)), over x's windows."""
        total, mean = self._sums.sums().unbind()
        mean.div_(total)
        torch.div(gradient, total, out=total)
        mean.mul_(total)
        if self._spread is None:
            self._spread = WindowSums(self._window, self._sizes, (2, self._lead), self._inner, self._like)
        parts, means = self._spread.spread(self._sums.result).unbind()
        weights = self._sums.target[0]
        return self._values.add_(1).mul_(parts).sub_(means).mul_(weights)
