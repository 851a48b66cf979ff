"""One epoch of optimization: forward, loss, backward, step; nothing that waits for the device in between."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from wsl.config import OptimConfig
from wsl.errors import RunError
from wsl.models import autocast, repeatable
from wsl.progress import Advance
from wsl.training.losses import LOSSES
from wsl.training.optimizer import lr_factor, set_lr
from wsl.training.sources import Example

# Reading the loss waits for the device; every so many steps costs nothing that could be measured.
_REPORT_EVERY = 10


@dataclass(frozen=True, slots=True)
class EpochStats:
    """What one epoch of training was like: mean loss of its steps, last learning rate, images seen, seconds.

    A head that is fitted at once has no learning rate, and its loss is that after the fit.
    """

    loss: float
    lr: float | None
    images: int
    seconds: float


@repeatable()
def run_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    batches: Iterable[Example],
    config: OptimConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
    epoch: int,
    steps: int,
    advance: Advance,
) -> EpochStats:
    """Train for one epoch, counted from 1, of at most `steps` batches.

    Raises:
        RunError: the loss or the weights are not finite, or there is no batch.
    """
    started, total, images, lr = time.perf_counter(), torch.zeros((), device=device), 0, 0.0
    step = 0
    for step, (inputs, targets, known) in enumerate(batches, 1):
        done = (epoch - 1) * steps + step - 1
        factor = lr_factor(done, config.epochs * steps, round(config.warmup_epochs * steps), config.schedule)
        lr = set_lr(optimizer, factor)
        example = inputs, targets.to(device, non_blocking=True), known.to(device, non_blocking=True)
        total += _step(network, optimizer, scaler, example, config, dtype)
        images += len(targets)
        note = None
        if step % _REPORT_EVERY == 0:
            note = f"loss {_finite(total, config, epoch, step) / step:.4f}  lr {lr:.2g}"
        advance(len(targets), note=note)
    if step == 0:
        raise RunError(f"epoch {epoch} had no readable image: see the lines above")
    loss = _finite(total, config, epoch, step) / step
    _finite(_magnitude(network), config, epoch, step)
    return EpochStats(loss, lr, images, time.perf_counter() - started)


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    example: Example,
    config: OptimConfig,
    dtype: torch.dtype,
) -> torch.Tensor:
    """One update of the weights; returns the loss before it."""
    inputs, targets, known = example
    try:
        with autocast(inputs.device, dtype):
            scores = network(inputs).scores
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RunError(
            f"batch norm needs more than one value per channel, and a batch of {len(inputs)} has maps of a single "
            "cell: give a larger --batch-size or --image-size, or --freeze-backbone"
        ) from error
    loss = LOSSES[config.loss](scores.float(), targets, known)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if config.clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
    scaler.step(optimizer)
    scaler.update()
    # Fused optimizers count no version, by which copies for inference are told to be of old weights.
    torch.autograd.graph.increment_version(list(network.parameters()))
    return loss.detach()


def _magnitude(network: nn.Module) -> torch.Tensor:
    """Finite when every weight is: the loss of the last step says nothing of what that step did to them."""
    return torch.stack([parameter.detach().abs().amax() for parameter in network.parameters()]).amax()


def _finite(value: torch.Tensor, config: OptimConfig, epoch: int, step: int) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise RunError(
            f"the loss or a weight is {number} in epoch {epoch}, by step {step}, at --lr {config.lr:g}: the last "
            "finished epoch is kept; start again with a lower --lr or with --clip-norm 1"
        )
    return number
