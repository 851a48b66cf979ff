"""Communication between the processes of a training: sums, and gradients reduced during the backward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from wsl.errors import RunError, first_line
from wsl.training.order import Shard

T = TypeVar("T")
# Small enough to send the first messages early, large enough that the number of messages does not matter.
_BUCKET_BYTES = 25 * 2**20


class Processes:
    """Communication among the processes of a training; without effect for a single process.

    >>> Processes().gather("mine")
    ['mine']
    """

    def __init__(self, shard: Shard | None = None) -> None:
        self.shard = shard or Shard()

    @property
    def several(self) -> bool:
        """Whether there are other processes."""
        return self.shard.processes > 1

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all processes, available in each of them."""
        if not self.several:
            return tensor
        tensor = tensor.clone()
        with _together():
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks."""
        if not self.several:
            return [value]
        values: list[Any] = [None] * self.shard.processes
        with _together():
            dist.all_gather_object(values, value)
        return values

    def agree(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the tensors of the first process to all others, in place."""
        if self.several:
            with _together():
                for tensor in tensors:
                    dist.broadcast(tensor.detach(), 0)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Convert errors of failed communication to a message that tells what to do.

    Raises:
        RunError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        line = first_line(error)
        raise RunError(
            f"another process of the training does not answer ({line}): see its output for the reason; --resume "
            "continues from the last saved state"
        ) from error


class GradientSum:
    """Sums the gradients of parameters over processes, overlapping communication with the backward pass.

    Parameters are assigned to messages once, so that the order of summation is the same in each step and after a run is
    resumed (DistributedDataParallel reorders its buckets after the first step).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], processes: Processes) -> None:
        self._processes = processes
        self._buckets = _buckets([p for p in parameters if p.requires_grad][::-1]) if processes.several else []
        self._of = {parameter: place for place, bucket in enumerate(self._buckets) for parameter in bucket}
        self._missing: list[int] = []
        self._sent: list[tuple[torch.Tensor, Any]] = []
        for parameter in self._of:
            parameter.register_post_accumulate_grad_hook(self._ready)  # type: ignore[no-untyped-call]

    def expect(self) -> None:
        """Send the gradients during the next backward pass."""
        self._missing, self._sent = [len(bucket) for bucket in self._buckets], []

    def finish(self) -> None:
        """Wait for all sums, and replace the gradients by them."""
        while len(self._sent) < len(self._buckets):
            self._send()
        for bucket, (flat, work) in zip(self._buckets, self._sent, strict=True):
            with _together():
                work.wait()
            parts = torch.split(flat, [parameter.numel() for parameter in bucket])
            for parameter, part in zip(bucket, parts, strict=True):
                parameter.grad = part.view_as(parameter)
        self._missing = []

    def _ready(self, parameter: torch.Tensor) -> None:
        if not self._missing:
            return
        self._missing[self._of[parameter]] -= 1  # type: ignore[index] # the hook is a parameter's
        # Messages are sent in order, because processes match them by order.
        while len(self._sent) < len(self._buckets) and self._missing[len(self._sent)] == 0:
            self._send()

    def _send(self) -> None:
        bucket = self._buckets[len(self._sent)]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._sent.append((flat, dist.all_reduce(flat, async_op=True)))


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Groups of consecutive parameters, each of one dtype and about the size of a message."""
    buckets: list[list[nn.Parameter]] = []
    size = 0
    for parameter in parameters:
        room = buckets and buckets[-1][0].dtype == parameter.dtype and size < _BUCKET_BYTES
        if not room:
            buckets.append([])
            size = 0
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return buckets
