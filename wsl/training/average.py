"""Exponential moving average of a model's weights; the averaged weights are validated and saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn


class WeightAverage:
    """Running average of all floating point weights and buffers of a model.

    The decay is at most ``(1 + steps) / (10 + steps)``, so the first steps are forgotten faster. Integer tensors, such
    as counters, are not averaged.

    >>> model = nn.Linear(1, 1)
    >>> average = WeightAverage(model, decay=0.9)
    >>> average.update()  # decay (1 + 0) / (10 + 0): the average is mostly the current weights
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.steps = model, decay, 0
        self.average = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step to the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = self._tensors()
        torch._foreach_lerp_(list(self.average.values()), [now[name].detach() for name in self.average], 1 - decay)
        self.steps += 1

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model inside the block, and restore its own weights afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def put(self) -> None:
        """Replace the model's weights by the averages."""
        self._put(self.average)

    def state_dict(self) -> dict[str, object]:
        """The state for `load_state_dict`."""
        return {"steps": self.steps, "average": dict(self.average)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore a state from `state_dict`."""
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
