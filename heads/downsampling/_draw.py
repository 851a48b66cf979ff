"""Drawing one value of each window, block by block: the running sum of the odds first passes a random part of it."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from heads._checks import accumulation_dtype
from heads.downsampling._blocks import Blocks, layout
from heads.downsampling._places import Places
from heads.downsampling._views import LOWEST, peak_of, place_views
from heads.downsampling._window import Window


class Draw(torch.autograd.Function):
    """The value drawn in each window, and its place in the window; the gradient goes to that place.

    Of what was computed only the place is kept, a byte a window. Where there was nothing to draw (all odds are 0) it is
    the number of places.
    """

    @staticmethod
    def forward(maps: Tensor, uniform: Tensor, window: Window, softmax: bool) -> tuple[Tensor, Tensor]:
        """The values drawn, and their places in the windows."""
        shape = layout(maps, len(window.kernel))
        drawn = torch.empty(uniform.shape, dtype=maps.dtype, device=maps.device, memory_format=shape)
        chosen = torch.empty_like(drawn, dtype=_place_dtype(window))
        blocks = Blocks(maps, len(window.kernel))
        like = maps.new_empty((), dtype=accumulation_dtype(maps))
        places = Places(window, blocks, LOWEST if softmax else 0.0, like)
        for values, random, here, place in blocks.cut(maps, uniform, drawn, chosen):
            places.load(values)
            _draw_block(places.views, random, here, place, softmax)
        return drawn, chosen

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Window, bool], output: tuple[Tensor, Tensor]) -> None:
        """Keep the places, and the maps for who differentiates twice."""
        ctx.window = inputs[2]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of each window at its place."""
        maps, chosen = ctx.saved_tensors
        window = ctx.window
        if torch.is_grad_enabled():
            pull = torch.func.vjp(lambda values: pick(values, chosen, window), maps)[1]
            return pull(gradient)[0], None, None, None
        result = torch.empty_like(maps, memory_format=layout(maps, len(window.kernel)))
        blocks = Blocks(maps, len(window.kernel))
        places = Places(window, blocks, 0.0, maps.new_empty((), dtype=accumulation_dtype(maps)))
        for pulled, place, total in blocks.cut(gradient, chosen, result):
            places.clear()
            numbers = place.to(places.views[0].dtype)
            here = torch.empty_like(numbers)
            for number, view in enumerate(places.views):
                view.addcmul_(here.copy_(numbers).eq_(number), pulled)
            places.store(total)
        return result, None, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], maps: Tensor, uniform: Tensor, window: Window, softmax: bool
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """One more dimension in front."""
        front = [
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((maps, uniform), in_dims[:2], strict=True)
        ]
        return Draw.apply(*front, window, softmax), (0, 0)


def _draw_block(views: list[Tensor], uniform: Tensor, drawn: Tensor, chosen: Tensor, softmax: bool) -> None:
    odds = views
    if softmax:
        peak = peak_of(views)
        odds = [torch.exp(view - peak) for view in views]
    total = odds[0].clone()
    for odd in odds[1:]:
        total.add_(odd)
    # Below the sum also where the product is rounded up to it.
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


def choose(maps: Tensor, uniform: Tensor, window: Window, softmax: bool) -> Tensor:
    """The places that `Draw` chooses, of torch's own operations without a change in place."""
    wide = maps.detach().to(uniform.dtype)
    odds = place_views(wide if softmax else wide.clamp(min=0), window, beyond=LOWEST if softmax else 0.0)
    if softmax:
        peak = peak_of(odds)
        odds = [torch.exp(view - peak) for view in odds]
    *sums, total = _running(odds)
    threshold = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    dtype = _place_dtype(window)
    place = functools.reduce(
        torch.add, [(passed <= threshold).to(dtype) for passed in sums], torch.zeros_like(total, dtype=dtype)
    )
    return torch.where(total == 0, len(odds), place)


def _place_dtype(window: Window) -> torch.dtype:
    return torch.uint8 if math.prod(window.kernel) < 256 else torch.int32


def _running(odds: list[Tensor]) -> list[Tensor]:
    sums = [odds[0]]
    for odd in odds[1:]:
        sums.append(sums[-1] + odd)
    return sums


def pick(maps: Tensor, chosen: Tensor, window: Window) -> Tensor:
    """The value of each window at its chosen place, 0 where nothing was chosen.

    >>> pick(torch.tensor([[5.0, 7.0]]), torch.tensor([[1]]), Window.of(1, kernel_size=2))
    tensor([[7.]])
    """
    views = place_views(maps, window, beyond=0.0)
    return functools.reduce(torch.add, [torch.where(chosen == number, view, 0) for number, view in enumerate(views)])
