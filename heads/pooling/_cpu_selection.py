"""Means of selected values on the CPU: the same function as topk and mean, several times faster.

Boundaries take the place of topk (`find_boundaries`), a byte a location the place of its indices, and everything
happens in chunks of rows that stay in the cache. Rows without a boundary, tied ones among them, go through topk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from heads.pooling._boundary import find_boundaries
from heads.pooling._fused import chunks, runs_eagerly_on_cpu

# Floats that a thread works on at a time, buffers included: they fit the outer cache.
_CHUNK = 1 << 21
# With fewer values in all, the calls cost more than topk does.
_WORTHWHILE = 1 << 17
# The gap at a boundary, times n and in deviations of the row, that a dozen guesses seldom find.
_NARROW = 1 / 32


@dataclass(frozen=True, slots=True)
class End:
    """The ``count`` highest or lowest values of a row, whose mean counts ``weight`` times.

    >>> End(10, largest=True).share
    0.1
    """

    count: int
    largest: bool
    weight: float = 1.0

    @property
    def share(self) -> float:
        """What each of the values counts."""
        return self.weight / self.count


Ends: TypeAlias = tuple[End, ...]


def can_select_by_boundary(values: Tensor, *counts: int | torch.SymInt) -> bool:
    """Whether `SelectedMean` takes these values, and is worth its overhead: plain large float tensors of the CPU.

    Half precision has ties in most rows. A count far below the length of the rows is topk's own strength.
    """
    n = values.shape[-1]
    worthwhile = runs_eagerly_on_cpu(values) and values.numel() >= _WORTHWHILE
    return worthwhile and all(bool(n < 64 * count < 64 * n < 1 << 30) for count in counts)


def select_rows(rows: Tensor, ends: Ends) -> tuple[Tensor, Tensor]:
    """The weighted sum of the means of each row's ends, and how often each value is in them.

    The marks are one tensor where every marked value counts the same, otherwise one an end.

    Shape:
        (R, n) -> (R,), (1 or E, R, n) bytes.

    >>> scores, marks = select_rows(torch.tensor([[1.0, 4.0, 2.0, 3.0]]), (End(2, largest=True), End(3, largest=False)))
    >>> scores, marks.tolist()
    (tensor([5.5000]), [[[0, 1, 0, 1]], [[1, 0, 1, 1]]])
    """
    shares = _shares(ends)
    marks = torch.empty((len(shares), *rows.shape), dtype=torch.int8)
    if any(is_search_hopeless(rows, end) for end in ends):
        return _select_by_topk(rows, ends, marks), marks
    sums = rows.new_empty((len(shares), len(rows)))
    parts = chunks(rows, _CHUNK // (1 + len(ends)))
    buffer = rows.new_empty((len(ends) * len(rows[parts[0]]), rows.shape[-1]))
    for part in parts:
        values = rows[part]
        there = buffer[: len(ends) * len(values)].view(len(ends), *values.shape)
        missing = _mark_by_boundary(values, ends, there)
        for other in there[len(shares) :]:
            there[0].add_(other)
        there = there[: len(shares)]
        marks[:, part] = there
        if len(missing):
            chosen = there.index_select(1, missing)
            # Times 0 an infinity would be NaN. In the order of the other rows, so that it shows in no digit.
            apart = values.index_select(0, missing).mul(chosen).masked_fill_(chosen == 0, 0).sum(-1)
        torch.sum(there.mul_(values), -1, out=sums[:, part])
        if len(missing):
            sums[:, part].index_copy_(1, missing, apart)
    return torch.mv(sums.T, sums.new_tensor(shares)), marks


def _shares(ends: Ends) -> list[float]:
    """What a marked value counts: one number if it is the same at all ends."""
    shares = [end.share for end in ends]
    return shares[:1] if len(set(shares)) == 1 else shares


def _mark_by_boundary(rows: Tensor, ends: Ends, there: Tensor) -> Tensor:
    """Ones in ``there`` at each end's values, zeros elsewhere; the result is which rows had to go through topk."""
    n = rows.shape[-1]
    boundaries = find_boundaries(rows, [end.count if end.largest else n - end.count for end in ends], there)
    for end, boundary, marks in zip(ends, boundaries, there, strict=True):
        (torch.gt if end.largest else torch.le)(rows, boundary, out=marks)
    unknown = boundaries.isnan().squeeze(-1)
    missing = unknown.any(0).nonzero().view(-1)
    if len(missing):
        for end, marks, lost in zip(ends, there, unknown, strict=True):
            again = lost.nonzero().view(-1)
            values = rows.index_select(0, again)
            marks.index_copy_(0, again, torch.zeros_like(values).scatter_(-1, _top(values, end).indices, 1))
    return missing


def _select_by_topk(rows: Tensor, ends: Ends, marks: Tensor) -> Tensor:
    scores = rows.new_zeros(len(rows))
    marks.zero_()
    for number, end in enumerate(ends):
        top = _top(rows, end)
        scores.add_(top.values.mean(-1), alpha=end.weight)
        marks[min(number, len(marks) - 1)].scatter_add_(
            -1, top.indices, torch.ones((), dtype=torch.int8).expand(top.indices.shape)
        )
    return scores


def _top(rows: Tensor, end: End) -> torch.return_types.topk:
    return rows.topk(end.count, largest=end.largest, sorted=False)


def is_search_hopeless(rows: Tensor, end: End) -> bool:
    """Whether in more than a quarter of eight rows the values around the end's boundary are too close to part.

    They are equal, or so near each other beside an extreme value elsewhere that guesses would not get between them.
    """
    sample = rows[:: -(-len(rows) // 8)]
    top = sample.topk(end.count + 1, largest=end.largest).values
    gaps = (top[:, -1] - top[:, -2]).abs() * rows.shape[-1]
    # Normally distributed values lie apart by 2 / n of their deviation, and more towards the ends.
    return (gaps > sample.std(-1) * _NARROW).float().mean().item() < 0.75


class SelectedMean(torch.autograd.Function):
    """(values, ends) -> their weighted mean, and the marks: `select_rows` for any number of dimensions."""

    @staticmethod
    def forward(values: Tensor, ends: Ends) -> tuple[Tensor, Tensor]:
        scores, marks = select_rows(values.reshape(-1, values.shape[-1]), ends)
        return scores.view(values.shape[:-1]), marks.view(-1, *values.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Ends], output: tuple[Tensor, Tensor]) -> None:
        ctx.shares = _shares(inputs[1])
        marks = output[1]
        ctx.mark_non_differentiable(marks)
        # Or a tensor of zeros would come as the gradient of the marks.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(marks)
        ctx.save_for_forward(marks)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, None]:
        if gradient is None:
            return None, None
        spread: Tensor = Spread.apply(gradient, ctx.saved_tensors[0], ctx.shares)
        return spread, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> tuple[Tensor, None]:
        return _gather(tangent, ctx.saved_tensors[0], ctx.shares), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], values: Tensor, ends: Ends) -> Any:
        return SelectedMean.apply(values.movedim(in_dims[0], 0), ends), (0, 1)


class Spread(torch.autograd.Function):
    """(weights, marks, shares) -> at each location its row's weight times the shares that are marked there.

    Shape:
        (...), (M, ..., n), M numbers -> (..., n).
    """

    @staticmethod
    def forward(weights: Tensor, marks: Tensor, shares: Sequence[float]) -> Tensor:
        first, *others = marks.reshape(len(shares), -1, marks.shape[-1])
        columns = [weights.reshape(-1, 1) * share for share in shares]
        spread = weights.new_empty(first.shape)
        parts = chunks(first, _CHUNK // (1 + len(shares)))
        buffer = weights.new_empty(first[parts[0]].shape if others else 0)
        for part in parts:
            there = spread[part].copy_(first[part]).mul_(columns[0][part])
            for other, column in zip(others, columns[1:], strict=True):
                there.add_(buffer[: len(there)].copy_(other[part]).mul_(column[part]))
        return spread.view(marks.shape[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Sequence[float]], output: Tensor) -> None:
        _, marks, ctx.shares = inputs
        ctx.save_for_backward(marks)
        ctx.save_for_forward(marks)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _gather(gradient, ctx.saved_tensors[0], ctx.shares), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (marks,) = ctx.saved_tensors
        return _spread_plainly(tangent, marks, ctx.shares)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None, None], weights: Tensor, marks: Tensor, shares: Sequence[float]
    ) -> Any:
        weights = weights.unsqueeze(0) if in_dims[0] is None else weights.movedim(in_dims[0], 0)
        marks = marks.unsqueeze(1) if in_dims[1] is None else marks.movedim(in_dims[1], 1)
        return _spread_plainly(weights, marks, shares), 0


def _spread_plainly(weights: Tensor, marks: Tensor, shares: Sequence[float]) -> Tensor:
    columns = [weights.unsqueeze(-1) * share for share in shares]
    return torch.stack([column * some for column, some in zip(columns, marks, strict=True)]).sum(0)


def _gather(values: Tensor, marks: Tensor, shares: Sequence[float]) -> Tensor:
    """The transpose of `Spread`: of each row the sum of the marked values times their shares."""
    return torch.stack([(values * some).sum(-1) * share for some, share in zip(marks, shares, strict=True)]).sum(0)
