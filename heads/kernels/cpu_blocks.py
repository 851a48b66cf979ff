"""Maps processed in blocks of as many planes as fit into the cache, with views of a window's places."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:  # the poolings import the kernels
    from heads.downsampling._window import Window

# Values per thread in a block: enough to keep a core busy, few enough for its cache.
BLOCK = 1 << 17


class Blocks:
    """Blocks of maps, as (planes, *sizes), or (images, H, W, C) if channels are adjacent in memory.

    ``lead`` is the number of planes (images) in a block, ``inner`` its dimensions after the sizes.

    >>> blocks = Blocks(torch.zeros(2, 3, 4, 4), dims=2)
    >>> [block.shape for block, in blocks.cut(torch.zeros(2, 3, 4, 4))]
    [torch.Size([6, 4, 4])]
    """

    def __init__(self, maps: Tensor, dims: int) -> None:
        self._dims = dims
        self._last = layout(maps, dims) == torch.channels_last
        self.sizes = list(maps.shape[-dims:])
        self.inner = (maps.shape[1],) if self._last else ()
        plane = torch.Size((*self.sizes, *self.inner)).numel()
        self.lead = max(1, min(BLOCK * torch.get_num_threads() // plane, maps.numel() // plane))

    def cut(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same planes of all tensors, as views; the last block may repeat some planes of the one before it."""
        rows = [self._rows(tensor) for tensor in tensors]
        for start in range(0, len(rows[0]), self.lead):
            first = min(start, len(rows[0]) - self.lead)
            yield tuple(row[first : first + self.lead] for row in rows)

    def _rows(self, tensor: Tensor) -> Tensor:
        return tensor.movedim(1, -1) if self._last else tensor.reshape(-1, *tensor.shape[-self._dims :])


def layout(maps: Tensor, dims: int) -> torch.memory_format:
    """The memory format of maps: channels-last if channels are adjacent, so that windows sum all of them at once.

    >>> layout(torch.zeros(2, 3, 4, 4), dims=2)
    torch.contiguous_format
    """
    plain = dims != 2 or maps.ndim != 4 or maps.is_contiguous()
    if plain or not maps.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last


class Places:
    """The values at each place of all windows of a block: `views`, (lead, *places, *inner) each, first place to last.

    With a stride, the columns are stored sorted by their remainder modulo the stride, so that the rows of each view are
    contiguous. ``fill`` is the value outside the map.

    >>> from heads.downsampling._window import Window
    >>> maps = torch.arange(6.0).reshape(1, 1, 6)
    >>> places = Places(Window.of(1, 3, stride=2), Blocks(maps, 1), fill=0.0, like=maps)
    >>> places.load(maps[0])
    >>> [view.tolist() for view in places.views]
    [[[0.0, 2.0]], [[1.0, 3.0]], [[2.0, 4.0]]]
    """

    def __init__(self, window: "Window", blocks: Blocks, fill: float, like: Tensor) -> None:
        counts = window.output_size(blocks.sizes)
        ends = [(count - 1) * step for count, step in zip(counts, window.stride, strict=True)]
        lengths = [
            max(size + added, end + reach)
            for size, added, end, reach in zip(blocks.sizes, window.padding, ends, window.reach(), strict=True)
        ]
        inside = [slice(added, added + size) for size, added in zip(blocks.sizes, window.padding, strict=True)]
        stride = window.stride[-1]
        sorts = not blocks.inner and stride > 1
        if sorts:
            lengths[-1:] = [stride, -(-lengths[-1] // stride)]
        self._buffer = like.new_full((blocks.lead, *lengths, *blocks.inner), fill)
        self.views = []
        for place in itertools.product(*map(range, window.kernel)):
            starts = [index * step for index, step in zip(place, window.dilation, strict=True)]
            cuts = [
                slice(start, start + end + 1, step)
                for start, end, step in zip(starts, ends, window.stride, strict=True)
            ]
            if sorts:
                first, rest = divmod(starts[-1], stride)
                self.views.append(self._cut(*cuts[:-1], rest, slice(first, first + counts[-1])))
            else:
                self.views.append(self._cut(*cuts))
        # Where the map's columns are stored: all of them, or those of each remainder.
        self._parts = [(self._cut(*inside), slice(None))]
        if sorts:
            self._parts = []
            for rest in range(stride):
                first = (rest - window.padding[-1]) % stride
                begin, columns = (first + window.padding[-1]) // stride, len(range(first, blocks.sizes[-1], stride))
                part = self._cut(*inside[:-1], rest, slice(begin, begin + columns))
                self._parts.append((part, slice(first, None, stride)))

    def _cut(self, *cuts: slice | int) -> Tensor:
        index: tuple[Any, ...] = (slice(None), *cuts)
        view: Tensor = self._buffer[index]
        return view

    def load(self, values: Tensor) -> None:
        """Copy a block into the interior."""
        for part, columns in self._parts:
            part.copy_(values[..., columns])

    def store(self, result: Tensor) -> None:
        """Copy the interior into a block."""
        for part, columns in self._parts:
            result[..., columns].copy_(part)

    def clear(self) -> None:
        """Set everything to zero."""
        self._buffer.zero_()
