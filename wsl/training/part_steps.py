"""The training steps of one round of a map decoder or box detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn

from wsl.errors import RunError
from wsl.progress import Advance
from wsl.training.optimizer import lr_factor, set_lr, split_decay

B = TypeVar("B")


def train_steps(
    module: nn.Module,
    batches: Iterable[B],
    loss_of: Callable[[B], tuple[torch.Tensor, int]],
    *,
    part: str,
    lr: float,
    weight_decay: float,
    epochs: int,
    steps: int,
    advance: Advance,
    longest: float | None = None,
    after: Callable[[], None] = lambda: None,
) -> float:
    """Train a module by AdamW with half an epoch of warm-up and a cosine schedule.

    `loss_of` returns the loss of a batch and the number of its images, which is passed to `advance`. An epoch has
    `steps` batches. Gradients are clipped to the norm `longest`, and `after` is called after each step. The result is
    the mean loss of the last epoch.

    Raises:
        RunError: the loss is not finite.
    """
    optimizer = torch.optim.AdamW(split_decay(module, lr, weight_decay))
    total, warmup = epochs * steps, round(steps / 2)
    module.train()
    loss = torch.zeros(())
    for step, batch in enumerate(batches):
        set_lr(optimizer, lr_factor(step, total, warmup, "cosine"))
        found, images = loss_of(batch)
        optimizer.zero_grad(set_to_none=True)
        found.backward()  # type: ignore[no-untyped-call]
        if longest is not None:
            nn.utils.clip_grad_norm_(module.parameters(), longest)
        optimizer.step()
        after()
        loss = loss + found.detach() if step % steps else found.detach()
        advance(images, note=None)
    module.eval()
    mean = float(loss) / steps
    if not math.isfinite(mean):
        raise RunError(f"the {part}'s loss is {mean}: start again with a lower --{part}-lr than {lr:g}")
    return mean
