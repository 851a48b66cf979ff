"""Drawing one value of each window on the CPU, block by block."""

import math
from typing import Any

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.kernels.cpu_blocks import Blocks, Places, layout
from heads.kernels.function import Kernel, Plain

# Lower than any value that occurs, and finite.
_LOWEST = torch.finfo(torch.float32).min / 4


class Draw(Kernel):
    """The value of each window where the cumulative odds first exceed a random fraction of their total.

    The settings are the window, whether the odds are exponentials, the random numbers in [0, 1) and the function that
    picks the values at given places. Only the place is kept for the backward pass, one byte per window; the number of
    places marks a window without odds.
    """

    def takes(self, values: Tensor, *settings: Any) -> bool:
        """All maps."""
        return True

    def forward(self, values: Tensor, *settings: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The values drawn, and their places in the windows."""
        window, softmax, uniform, _ = settings
        dims = len(window.kernel)
        drawn = torch.empty(uniform.shape, dtype=values.dtype, memory_format=layout(values, dims))
        chosen = torch.empty_like(drawn, dtype=torch.uint8 if math.prod(window.kernel) < 256 else torch.int32)
        blocks = Blocks(values, dims)
        like = values.new_empty((), dtype=accumulation_dtype(values))
        places = Places(window, blocks, _LOWEST if softmax else 0.0, like)
        for block, random, here, place in blocks.cut(values, uniform, drawn, chosen):
            places.load(block)
            _draw_block(places.views, random, here, place, softmax)
        return drawn, (chosen,)

    def backward(
        self, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """The gradient of each window at its place."""
        (chosen,), window = kept, settings[0]
        result = torch.empty_like(values, memory_format=layout(values, len(window.kernel)))
        blocks = Blocks(values, len(window.kernel))
        places = Places(window, blocks, 0.0, values.new_empty((), dtype=accumulation_dtype(values)))
        for pulled, place, total in blocks.cut(gradient, chosen, result):
            places.clear()
            numbers = place.to(places.views[0].dtype)
            here = torch.empty_like(numbers)
            for number, view in enumerate(places.views):
                view.addcmul_(here.copy_(numbers).eq_(number), pulled)
            places.store(total)
        return result, None

    def differentiable_backward(
        self, plain: Plain, gradient: Tensor, values: Tensor, kept: tuple[Tensor, ...], *settings: Any
    ) -> tuple[Tensor, None]:
        """The same with second derivatives."""
        (chosen,), (window, _, _, pick) = kept, settings
        return torch.func.vjp(lambda values: pick(values, chosen, window), values)[1](gradient)[0], None


def _draw_block(views: list[Tensor], uniform: Tensor, drawn: Tensor, chosen: Tensor, softmax: bool) -> None:
    odds = views
    if softmax:
        peak = views[0].clone()
        for view in views[1:]:
            torch.maximum(peak, view, out=peak)
        odds = [torch.exp(view - peak) for view in views]
    total = odds[0].clone()
    for odd in odds[1:]:
        total.add_(odd)
    # Stays below the sum even if the product is rounded up to it.
    threshold = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    passed, value = odds[0].clone(), views[0].clone()
    place, further = torch.zeros_like(total), torch.empty_like(total)
    for view, odd in zip(views[1:], odds[1:], strict=True):
        further.copy_(passed).le_(threshold)  # 1.0 or 0.0: torch works faster with these than with booleans
        place.add_(further)
        value.lerp_(view, further)
        passed.add_(odd)
    chosen.copy_(place.masked_fill_(total == 0, len(views)))
    drawn.copy_(value)
