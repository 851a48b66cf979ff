"""Maps taken block by block: as many planes at a time as fit into the cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Values of a block for each thread: enough to keep a core busy, few enough for its cache.
BLOCK = 1 << 17


class Blocks:
    """How maps are cut: into (planes, *sizes), or (images, H, W, C) where channels are neighbours in memory.

    ``lead`` is the number of planes (images) of a block, ``inner`` its dimensions behind the sizes.

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
        # Other devices have no such cache, and there each call costs the same however much it does.
        room = BLOCK * torch.get_num_threads() if maps.device.type == "cpu" else 1 << 27
        self.lead = max(1, min(room // plane, maps.numel() // plane))

    def cut(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """The same planes of all tensors, as views; the last block may repeat some planes of the one before it."""
        rows = [self._rows(tensor) for tensor in tensors]
        for start in range(0, len(rows[0]), self.lead):
            first = min(start, len(rows[0]) - self.lead)
            yield tuple(row[first : first + self.lead] for row in rows)

    def _rows(self, tensor: Tensor) -> Tensor:
        return tensor.movedim(1, -1) if self._last else tensor.reshape(-1, *tensor.shape[-self._dims :])


def layout(maps: Tensor, dims: int) -> torch.memory_format:
    """Whether channels are neighbours in memory, so that windows are summed for all of them at once.

    >>> layout(torch.zeros(2, 3, 4, 4), dims=2)
    torch.contiguous_format
    """
    plain = dims != 2 or maps.ndim != 4 or maps.is_contiguous()
    if plain or not maps.is_contiguous(memory_format=torch.channels_last):
        return torch.contiguous_format
    return torch.channels_last
