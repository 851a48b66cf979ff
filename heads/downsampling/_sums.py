"""Sums over windows, one dimension after the other, in buffers that are used again and again."""

from collections.abc import Sequence

import torch
from torch import Tensor

from heads.downsampling._window import Window


class WindowSums:
    """Sums of all windows of some planes, and the way back: each sum given to all places of its window.

    Write into `target`, (*lead, *sizes, *inner), then `sums` are (*lead, *places, *inner). Beyond the map there is 0.
    k * k places cost 2 * k additions, as rows are shared by windows.

    >>> sums = WindowSums(Window.of(2, 2, stride=1), (2, 3), lead=(1,), inner=(), like=torch.ones(1))
    >>> _ = sums.target.copy_(torch.arange(6.0).reshape(1, 2, 3))
    >>> sums.sums()
    tensor([[[ 8., 12.]]])
    >>> sums.spread(torch.tensor([[[1.0, 10.0]]]))
    tensor([[[ 1., 11., 10.],
             [ 1., 11., 10.]]])
    """

    def __init__(
        self, window: Window, sizes: Sequence[int], lead: tuple[int, ...], inner: tuple[int, ...], like: Tensor
    ) -> None:
        places = window.output_size(sizes)
        self._stages = [
            _Stage(
                before=(*lead, *places[:axis]),
                size=sizes[axis],
                after=(*sizes[axis + 1 :], *inner),
                places=places[axis],
                step=(window.kernel[axis], window.stride[axis], window.padding[axis], window.dilation[axis]),
                like=like,
            )
            for axis in range(len(sizes))
        ]
        self.target = self._stages[0].target
        self.result = like.new_empty((*lead, *places, *inner))

    def sums(self) -> Tensor:
        """The sums of what stands in `target`; the next call writes over them."""
        targets = [*(stage.target for stage in self._stages[1:]), self.result]
        for stage, target in zip(self._stages, targets, strict=True):
            stage.gather(target)
        return self.result

    def spread(self, values: Tensor) -> Tensor:
        """What each place of the map gets when each window gives its value to all its places; in `target`."""
        for stage in reversed(self._stages):
            values = stage.scatter(values)
        return values


class _Stage:
    """One dimension: a padded buffer, and a view of it for each place in the window.

    Where this is the last dimension and the stride above 1, the views would be columns apart and slow; then columns
    lie sorted by their rest modulo the stride, and each view is a run of neighbours.
    """

    def __init__(
        self,
        before: tuple[int, ...],
        size: int,
        after: tuple[int, ...],
        places: int,
        step: tuple[int, int, int, int],
        like: Tensor,
    ) -> None:
        kernel, stride, padding, dilation = step
        length = max(size + padding, (places - 1) * stride + (kernel - 1) * dilation + 1)
        starts = [index * dilation for index in range(kernel)]
        axis = len(before)
        self._sorted: list[tuple[Tensor, Tensor]] = []
        if after or stride == 1:
            self._buffer = like.new_zeros((*before, length, *after))
            cut = (slice(None),) * axis
            span = (places - 1) * stride + 1
            self._views = [self._buffer[(*cut, slice(start, start + span, stride))] for start in starts]
            self.target = self._buffer[(*cut, slice(padding, padding + size))]
            return
        self._buffer = like.new_zeros((*before, stride, -(-length // stride)))
        self._views = [
            self._buffer[..., start % stride, start // stride : start // stride + places] for start in starts
        ]
        self.target = like.new_empty((*before, size))
        for rest in range(stride):
            first = (rest - padding) % stride
            columns = self.target[..., first::stride]
            begin = (first + padding) // stride
            self._sorted.append((self._buffer[..., rest, begin : begin + columns.shape[-1]], columns))

    def gather(self, result: Tensor) -> None:
        """The sum of the views of what stands in `target`."""
        for place, columns in self._sorted:
            place.copy_(columns)
        if len(self._views) == 1:
            result.copy_(self._views[0])
            return
        torch.add(self._views[0], self._views[1], out=result)
        for view in self._views[2:]:
            result.add_(view)

    def scatter(self, values: Tensor) -> Tensor:
        """The values added to each view, as `target`."""
        self._buffer.zero_()
        for view in self._views:
            view.add_(values)
        for place, columns in self._sorted:
            columns.copy_(place)
        return self.target
