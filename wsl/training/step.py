"""One training step: one update of the weights from a batch of all processes, optionally in parts."""

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
from wsl.training.seeding import seed_device


class Stepper:
    """Updates the weights: holds the network with its objective, the optimizer, and the sum of gradients.

    The loss of a step is that of its whole batch: its sums are divided by counts over all processes and parts.
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
        # float16 gradients below 6e-8 would vanish; for other dtypes the scaler is disabled.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.average = WeightAverage(network.model, config.ema) if config.ema is not None else None
        self._parameters = network.trained_parameters()
        self._gradients = GradientSum(self._parameters, self.processes)

    def __call__(
        self, example: Example, number: int, progress: float, *, stopping: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Update the weights once; returns the loss before the update, and whether any process is to stop (above 0).

        The random numbers of the network derive from the seed and the step's `number`, counted from 0.
        """
        seed_device(int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]), self.device)
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
                share = None  # the error's traceback would keep the memory
            if share is None:
                raise too_large(self.network, part)
            loss = loss + share.detach()
        self._gradients.finish()
        self._update()
        return self.processes.sum(loss), stop

    def _counts(self, example: Example, stopping: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The divisors of the sums, and whether any process is to stop, in one message."""
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
        # Fused optimizers do not increment the version of weights, by which outdated copies for inference are
        # recognised.
        torch.autograd.graph.increment_version(self._parameters)
        if self.average is not None:
            self.average.update()


def _parts(example: Example, parts: int) -> list[Example]:
    """Split a batch into `parts` parts, or fewer if there are not enough images."""
    size = math.ceil(len(example.targets) / parts)
    if size >= len(example.targets):
        return [example]
    inputs, targets, mask, index = (
        torch.split(tensor, size) for tensor in example[:4] if isinstance(tensor, torch.Tensor)
    )
    return [Example(*part, example.images) for part in zip(inputs, targets, mask, index, strict=True)]
