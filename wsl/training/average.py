"""An exponential moving average of a model's weights, which is what is measured and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn


class WeightAverage:
    """The running average of all floating point weights and statistics of a model.

    In the first steps it forgets faster: the decay is at most ``(1 + steps) / (10 + steps)``. Whole numbers, such as
    counters, are the model's own.

    >>> model = nn.Linear(1, 1)
    >>> average = WeightAverage(model, decay=0.9)
    >>> average.update()  # (1 + 0) / (10 + 0): the average is mostly of what the model is now
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.steps = model, decay, 0
        self.average = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = self._tensors()
        torch._foreach_lerp_(list(self.average.values()), [now[name].detach() for name in self.average], 1 - decay)
        self.steps += 1

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averages while the block runs, and its own weights afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def put(self) -> None:
        """Give the model the averages for good."""
        self._put(self.average)

    def state_dict(self) -> dict[str, object]:
        """All that `load_state_dict` needs to go on."""
        return {"steps": self.steps, "average": dict(self.average)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Put back what `state_dict` gave."""
        steps, average = state["steps"], state["average"]
        assert isinstance(steps, int)
        assert isinstance(average, dict)
        self.steps = steps
        with torch.no_grad():
            for name, tensor in self.average.items():
                tensor.copy_(average[name])

    def _tensors(self) -> dict[str, torch.Tensor]:
        every = self.model.state_dict(keep_vars=True).items()
        return {name: tensor for name, tensor in every if tensor.is_floating_point()}

    @torch.no_grad()
    def _put(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(values[name])
