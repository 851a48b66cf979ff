"""One epoch of optimization, without synchronisation with the device between steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn

from wsl.config import OptimConfig
from wsl.errors import RunError
from wsl.interrupts import Pending
from wsl.models import repeatable
from wsl.progress import Advance
from wsl.training.network import Example
from wsl.training.optimizer import lr_factor, set_lr
from wsl.training.step import Stepper

# Steps between two readings of the losses, which wait for the device; at this interval the cost was not measurable.
_REPORT_EVERY = 20

Describe = Callable[[torch.Tensor], str]


@dataclass(frozen=True, slots=True)
class EpochStats:
    """Statistics of one epoch: mean loss of its steps, last learning rate, number of images, seconds.

    A head fitted by L-BFGS has no learning rate, and its loss is the loss after the fit.
    """

    loss: float
    lr: float | None
    images: int
    seconds: float


@dataclass(slots=True)
class Position:
    """The position within an epoch: steps done, the sum of their losses, and the number of images that counted."""

    step: int = 0
    loss: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    images: int = 0


@repeatable()
def run_epoch(
    stepper: Stepper,
    batches: Iterable[Example],
    *,
    epoch: int,
    steps: int,
    position: Position,
    advance: Advance,
    pending: Pending | None = None,
    keep: Callable[[], None] | None = None,
    save_every: int | None = None,
    describe: Describe | None = None,
) -> EpochStats:
    """Train the rest of one epoch (counted from 1) of `steps` batches, starting at `position`.

    `keep` is called after every `save_every`-th step of the run, and when a signal is `pending`, which is then raised.
    `describe` names images for messages.

    Raises:
        RunError: the loss or a weight is not finite, or no image could be read.
    """
    config, device, pending = stepper.config, stepper.device, pending or Pending()
    started, before = time.perf_counter(), position.images
    position.loss = position.loss.to(device)
    watch, stop_before = _Watch(config, epoch, describe), torch.zeros(1)
    for example in batches:
        done = (epoch - 1) * steps + position.step
        total = config.epochs * steps
        lr = set_lr(stepper.optimizer, lr_factor(done, total, round(config.warmup_epochs * steps), config.schedule))
        loss, stop = stepper(example, done, done / total, stopping=pending.requested)
        position.step += 1
        position.loss = position.loss + loss
        position.images += example.images
        watch.see(position.step, loss, example.index)
        due = save_every is not None and (done + 1) % save_every == 0 and position.step < steps
        # All processes stop after the same step. The flag of the previous step is known without waiting for this one.
        stopped, stop_before = bool(stop_before) if stepper.processes.several else pending.requested, stop
        note = None
        if stopped or due or position.step % _REPORT_EVERY == 0:
            watch.check()
            note = f"loss {float(position.loss) / position.step:.4f}  lr {lr:.2g}"
        if (stopped or due) and keep is not None:
            keep()
        advance(example.images, note=note)
        if stopped:
            pending.end()
    watch.check()
    watch.check_weights(stepper.network)
    everywhere = torch.tensor([float(position.images), float(pending.requested)], device=device)
    images, stopping = stepper.processes.sum(everywhere).tolist()
    if images == 0:
        raise RunError(f"epoch {epoch} had no readable image: see the lines above")
    if stopping:
        if keep is not None:
            keep()
        pending.end()
    rate, seconds = float(stepper.optimizer.param_groups[0]["lr"]), time.perf_counter() - started
    return EpochStats(float(position.loss) / position.step, rate, position.images - before, seconds)


class _Watch:
    """The losses of the steps since the last check, so that the first one that is not finite can be named."""

    def __init__(self, config: OptimConfig, epoch: int, describe: Describe | None) -> None:
        self._config, self._epoch, self._describe = config, epoch, describe
        self._losses: list[torch.Tensor] = []
        self._images: list[torch.Tensor] = []
        self._last = 0

    def see(self, step: int, loss: torch.Tensor, index: torch.Tensor) -> None:
        """Record the loss and the images of a step."""
        self._losses.append(loss)
        self._images.append(index)
        self._last = step

    def check(self) -> None:
        """Check the losses recorded since the last call.

        Raises:
            RunError: a loss is not finite.
        """
        losses = torch.stack(self._losses).tolist() if self._losses else []
        first = self._last - len(losses) + 1
        for place, (loss, images) in enumerate(zip(losses, self._images, strict=True)):
            if not math.isfinite(loss):
                where = f"in epoch {self._epoch}, step {first + place}"
                seen = "" if self._describe is None else f" (images {self._describe(images)})"
                raise RunError(f"the loss is {loss} {where}{seen}, {self._advice()}")
        self._losses, self._images = [], []

    def check_weights(self, network: nn.Module) -> None:
        """Check the weights, because the last step's loss was computed before its update.

        Raises:
            RunError: a weight is not finite.
        """
        largest = float(torch.stack([p.detach().abs().amax() for p in network.parameters()]).amax())
        if not math.isfinite(largest):
            raise RunError(f"a weight is {largest} in epoch {self._epoch}, by step {self._last}, {self._advice()}")

    def _advice(self) -> str:
        return (
            f"at --lr {self._config.lr:g}: the last finished epoch is kept; start again with a lower --lr or with "
            "--clip-norm 1"
        )
