"""A cache of a model's copies for inference, renewed when the model changes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import nn

Copy = TypeVar("Copy")


class ReadyCopies(Generic[Copy]):
    """Caches the result of a function of a module, for each device and dtype, until a weight of the module changes.

    Changes through ``Tensor.data`` or by fused optimizers are not noticed, unless
    `torch.autograd.graph.increment_version` is called. Copies and pickles do not contain the cache.

    >>> copies, net = ReadyCopies(), nn.Linear(2, 2)
    >>> first = copies.get(net, torch.device("cpu"), torch.float32, object)
    >>> first is copies.get(net, torch.device("cpu"), torch.float32, object)
    True
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[torch.device, torch.dtype], tuple[tuple[object, ...], Copy]] = {}
        self._lock = threading.Lock()

    def get(self, module: nn.Module, device: torch.device, dtype: torch.dtype, make: Callable[[], Copy]) -> Copy:
        """The cached copy, or a new one."""
        state, key = _state(module), (device, dtype)
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or kept[0] != state:
                with torch.inference_mode(False):  # weights made in inference mode could not be differentiated later
                    kept = self._kept[key] = (state, make())
        return kept[1]

    def __reduce__(self) -> tuple[type[ReadyCopies[Copy]], tuple[()]]:
        return type(self), ()

    def __deepcopy__(self, memo: object) -> ReadyCopies[Copy]:
        return type(self)()


def _state(module: nn.Module) -> tuple[object, ...]:
    """What tells a changed module from an unchanged one: its weights' versions and places, its modules, its head."""
    modules = list(module.modules())
    # Not by parameters() and buffers(), which traverse all modules twice and build names.
    own = itertools.chain.from_iterable((*m._parameters.values(), *m._buffers.values()) for m in modules)
    # Tensors made in inference mode have no version counter.
    weights = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in own if t is not None)
    return weights, tuple(map(id, modules)), repr(getattr(module, "head", None))
