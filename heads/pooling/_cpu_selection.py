"""The mean of selected values on the CPU: the same function as topk and mean, several times faster.

Boundaries take the place of topk (`find_boundaries`), a byte a location the place of its indices, and everything
happens in chunks of rows that stay in the cache. Rows without a boundary, tied ones among them, go through topk.
"""

from typing import Any

import torch
from torch import Tensor

from heads.pooling._boundary import find_boundaries
from heads.pooling._fused import chunks, runs_eagerly_on_cpu

# Values a thread takes at a time: two such buffers fit the outer cache.
_CHUNK = 1 << 20
# With fewer values in all, the calls cost more than topk does.
_WORTHWHILE = 1 << 17


def can_select_by_boundary(values: Tensor, count: int | torch.SymInt) -> bool:
    """Whether `SelectedMean` takes these values, and is worth its overhead: plain large float tensors of the CPU.

    Half precision has ties in most rows. A count far below the length of the rows is topk's own strength.
    """
    n = values.shape[-1]
    return runs_eagerly_on_cpu(values) and values.numel() >= _WORTHWHILE and bool(n < 64 * count < 64 * n < 1 << 30)


def select_rows(rows: Tensor, count: int, largest: bool) -> tuple[Tensor, Tensor]:
    """The mean of the ``count`` highest or lowest values of each row, and True where they are.

    Shape:
        (R, n) -> (R,), (R, n).

    >>> select_rows(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), 2, largest=True)
    (tensor([3.5000]), tensor([[False,  True, False,  True]]))
    """
    n = rows.shape[-1]
    chosen = torch.empty(rows.shape, dtype=torch.bool)
    if are_ties_common(rows, count, largest):
        top = rows.topk(count, largest=largest, sorted=False)
        return top.values.mean(-1), _mark(top.indices, chosen)
    above = count if largest else n - count
    sums = rows.new_empty(len(rows))
    buffer = torch.empty_like(rows[chunks(rows, _CHUNK)[0]])
    for part in chunks(rows, _CHUNK):
        values = rows[part]
        weights = buffer[: len(values)]
        boundary = find_boundaries(values, above, weights)
        if largest:
            torch.gt(values, boundary, out=weights)
        else:
            torch.le(values, boundary, out=weights)
        chosen[part] = weights
        torch.sum(weights.mul_(values), -1, out=sums[part])
        missing = boundary.squeeze(-1).isnan().nonzero().squeeze(-1)
        if len(missing):
            values = values.index_select(0, missing)
            there = _mark(
                values.topk(count, largest=largest, sorted=False).indices, torch.empty_like(values, dtype=torch.bool)
            )
            chosen[part][missing] = there
            # In the order of the other rows: which of them are missing must not show in the last digit.
            sums[part][missing] = values.masked_fill(~there, 0).sum(-1)
    return sums.div_(count), chosen


def _mark(indices: Tensor, marks: Tensor) -> Tensor:
    return marks.zero_().scatter_(-1, indices, True)


def are_ties_common(rows: Tensor, count: int, largest: bool) -> bool:
    """Whether more than a quarter of eight rows have equal values on both sides of the boundary."""
    sample = rows[:: -(-len(rows) // 8)].topk(count + 1, largest=largest).values
    return (sample[:, -1] == sample[:, -2]).float().mean().item() > 0.25


class SelectedMean(torch.autograd.Function):
    """(values, count, largest) -> their mean, and where they are: `select_rows` for any number of dimensions."""

    @staticmethod
    def forward(values: Tensor, count: int, largest: bool) -> tuple[Tensor, Tensor]:
        means, chosen = select_rows(values.reshape(-1, values.shape[-1]), count, largest)
        return means.view(values.shape[:-1]), chosen.view(values.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, bool], output: tuple[Tensor, Tensor]) -> None:
        _, ctx.count, _ = inputs
        _, chosen = output
        ctx.mark_non_differentiable(chosen)
        # Or a tensor of zeros would come as the gradient of the marks.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(chosen)
        ctx.save_for_forward(chosen)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, None, None]:
        if gradient is None:
            return None, None, None
        (chosen,) = ctx.saved_tensors
        spread: Tensor = Spread.apply(gradient / ctx.count, chosen)
        return spread, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> tuple[Tensor, None]:
        (chosen,) = ctx.saved_tensors
        return (tangent * chosen).sum(-1) / ctx.count, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None, None], values: Tensor, count: int, largest: bool) -> Any:
        return SelectedMean.apply(values.movedim(in_dims[0], 0), count, largest), (0, 0)


class Spread(torch.autograd.Function):
    """(weights, chosen) -> each row's weight at its chosen locations, zero elsewhere.

    Shape:
        (...), (..., n) -> (..., n).
    """

    @staticmethod
    def forward(weights: Tensor, chosen: Tensor) -> Tensor:
        # As bytes, which are converted to floats ten times faster than booleans are.
        rows = chosen.view(torch.uint8).reshape(-1, chosen.shape[-1])
        weights = weights.reshape(-1, 1)
        spread = weights.new_empty(rows.shape)
        for part in chunks(rows, _CHUNK):
            spread[part].copy_(rows[part]).mul_(weights[part])
        return spread.view(chosen.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (chosen,) = ctx.saved_tensors
        return (gradient * chosen).sum(-1), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (chosen,) = ctx.saved_tensors
        spread: Tensor = tangent.unsqueeze(-1) * chosen
        return spread

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], weights: Tensor, chosen: Tensor) -> Any:
        weights, chosen = (
            tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((weights, chosen), in_dims, strict=True)
        )
        return weights.unsqueeze(-1) * chosen, 0
