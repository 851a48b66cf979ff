"""One step: a batch of all processes together, in parts if need be, becomes one update of the weights."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from wsl.config import OptimConfig
from wsl.training.average import WeightAverage
from wsl.training.memory import too_large
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import divisor
from wsl.training.processes import GradientSum, Processes


class Stepper:
    """What changes the weights: the network with its objective, the optimizer, and the sum of gradients.

    The loss of a step is that of its whole batch: what its sums are divided by is counted over all processes and parts.
    """

    def __init__(
        self,
        network: TrainedNetwork,
        optimizer: torch.optim.Optimizer,
        config: OptimConfig,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        processes: Processes | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.optimizer, self.config = network, optimizer, config
        self.device = device or torch.device("cpu")
        self.processes = processes or Processes()
        self.seed = seed
        # The gradients of float16 would vanish below 6e-8; elsewhere the scaler does nothing.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.average = WeightAverage(network.model, config.ema) if config.ema is not None else None
        self._parameters = network.trained_parameters()
        self._gradients = GradientSum(self._parameters, self.processes)

    def __call__(
        self, example: Example, number: int, progress: float, *, stopping: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One update of the weights; the loss before it, and whether any process is to stop (above 0).

        What the network draws at random follows from the seed and the step's ``number``, counted from 0.
        """
        torch.manual_seed(int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]))
        example = example._replace(
            targets=example.targets.to(self.device, non_blocking=True),
            mask=example.mask.to(self.device, non_blocking=True),
        )
        example = self.network.weighted(example)
        counts, stop = self._counts(example, stopping)
        self.optimizer.zero_grad(set_to_none=True)
        parts = _parts(example, self.config.accumulate)
        loss = torch.zeros((), device=self.device)
        for place, part in enumerate(parts, 1):
            if place == len(parts):
                self._gradients.expect()
            try:
                share = (self.network(part, progress) / counts).sum()
                self.scaler.scale(share).backward()
            except torch.OutOfMemoryError:
                share = None  # its traceback would hold the memory
            if share is None:
                raise too_large(self.network, part)
            loss = loss + share.detach()
        self._gradients.finish()
        self._update()
        return self.processes.sum(loss), stop

    def _counts(self, example: Example, stopping: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """What the sums are divided by, and whether any process is to stop: one message for both."""
        counts = self.network.objective.counts(example.targets, example.mask)
        stop = counts.new_full((1,), float(stopping)) if self.processes.several else torch.tensor([float(stopping)])
        if self.processes.several:
            both = self.processes.sum(torch.cat([counts, stop]))
            counts, stop = both[:-1], both[-1:]
        return divisor(counts), stop

    def _update(self) -> None:
        if self.config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # Fused optimizers count no version, by which copies for inference are told to be of old weights.
        torch.autograd.graph.increment_version(self._parameters)
        if self.average is not None:
            self.average.update()


def _parts(example: Example, parts: int) -> list[Example]:
    """A batch cut into so many parts, as long as they have an image each."""
    size = math.ceil(len(example.targets) / parts)
    if size >= len(example.targets):
        return [example]
    inputs, targets, mask, index = (
        torch.split(tensor, size) for tensor in example[:4] if isinstance(tensor, torch.Tensor)
    )
    return [Example(*part, example.images) for part in zip(inputs, targets, mask, index, strict=True)]
