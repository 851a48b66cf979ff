"""Tracing of image positions through a forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from wsl.models.position_rules import place_results, slide
from wsl.models.positions import Positions


class PositionTracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode that traces the positions of values of a batch of images through all operations inside the block.

    The result of a convolution or pooling lies at the centre of its window, including padding. A copied value keeps its
    position, and a combination of several lies at their mean. Other results have no known position. Inference mode
    dispatches other operations: leave it with ``torch.inference_mode(False)``.

    >>> images = torch.zeros(1, 3, 32, 32)
    >>> with PositionTracer(images) as tracer:
    ...     output = torch.nn.functional.max_pool2d(images, 2).flatten(2)
    >>> tracer.positions(output).x[0, 0, :3].tolist()
    [1.0, 3.0, 5.0]
    """

    def __init__(self, images: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        height, width = images.shape[-2:]
        row, column = (torch.arange(side, device=images.device) + 0.5 for side in (height, width))
        self._seen = {_key(images): Positions(row[:, None].expand(images.shape), column.expand(images.shape))}

    def positions(self, tensor: torch.Tensor) -> Positions | None:
        """The known positions of a tensor that was computed in the block and still exists."""
        return self._seen.get(_key(tensor))

    def follow_window(
        self, source: torch.Tensor, output: torch.Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any
    ) -> None:
        """Declare that an output was computed window by window, for operations that do not show it."""
        positions = self.positions(source)
        self._write(output, positions and slide(positions, output.shape, kernel, stride, padding, dilation))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        tensors = [leaf for leaf in pytree.arg_tree_leaves(*args, **kwargs) if isinstance(leaf, torch.Tensor)]
        results = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        known = {_key(t): self._seen.get(_key(t)) for t in tensors}
        placed: Sequence[Positions | None] = [None] * len(results)
        if any(known.values()):
            with contextlib.suppress(RuntimeError, IndexError, TypeError, ValueError):  # unusual arguments
                placed = place_results(func, args, kwargs, results, lambda tensor: known.get(_key(tensor)))
        for result, positions in zip(results, placed, strict=True):
            self._write(result, positions)
        return output

    def _write(self, tensor: torch.Tensor, positions: Positions | None) -> None:
        if positions is None:
            self._seen.pop(_key(tensor), None)
        else:
            self._seen[_key(tensor)] = positions


def _key(tensor: torch.Tensor) -> tuple[object, ...]:
    # Not by object, because autograd returns the same values in another tensor. A tensor that reuses freed memory
    # writes its own entry.
    return tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride()
