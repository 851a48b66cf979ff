"""A learning rate for a training: the loss over steps whose rate grows exponentially."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from wsl.errors import RunError
from wsl.models import repeatable
from wsl.progress import Advance
from wsl.training.network import Example
from wsl.training.optimizer import set_lr
from wsl.training.step import Stepper

LOWEST, HIGHEST = 1e-6, 1.0
# Of an exponential mean, and how far above its lowest value the loss has diverged.
_DECAY, _DIVERGED = 0.9, 4.0
# How far below the rate of the lowest loss the suggestion lies.
_MARGIN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSearch:
    """The loss at each rate, smoothed beside it, and the rate to take; None where the loss did not fall.

    The smoothed loss is an exponential mean of decay 0.9, without the bias of its start. The suggestion is a tenth of
    the rate at which it is lowest. The rates are the head's.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None


@repeatable()
def search_lr(stepper: Stepper, batches: Iterable[Example], steps: int, advance: Advance) -> LrSearch:
    """Take `steps` steps at rates from 1e-6 to 1, fewer where the loss diverges; the weights are not put back.

    The backbone's rate stays the part of the head's that the settings say. A loss above four times the lowest, both
    smoothed, or one that is not finite ends the search.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017; the rule is fastai's.

    Raises:
        RunError: no image could be read.
    """
    rates: list[float] = []
    losses: list[float] = []
    images = 0
    for number, (rate, example) in enumerate(zip(sweep(steps), batches, strict=False)):
        set_lr(stepper.optimizer, rate / stepper.config.lr)
        loss = float(stepper(example, number, 0.0)[0])
        images += example.images
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        advance(1, note=f"loss {loss:.4f}  lr {rate:.2g}")
        means = smooth(losses)
        if means[-1] > _DIVERGED * min(means):
            break
    if not float(stepper.processes.sum(torch.tensor(float(images), device=stepper.device))):
        raise RunError("no image of these steps could be read: see the lines above")
    means = smooth(losses)
    return LrSearch(rates=tuple(rates), losses=tuple(losses), smoothed=tuple(means), suggestion=suggest(rates, means))


def sweep(steps: int) -> list[float]:
    """Rates from the lowest to the highest, each the same multiple of the one before.

    >>> [f"{rate:.0e}" for rate in sweep(4)]
    ['1e-06', '1e-04', '1e-02', '1e+00']
    """
    return [LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1)) for step in range(steps)]


def smooth(losses: Sequence[float]) -> list[float]:
    """The exponential mean of the losses so far, divided by the sum of its weights.

    >>> smooth([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = _DECAY * mean + (1 - _DECAY) * loss
        found.append(mean / (1 - _DECAY**number))
    return found


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """A tenth of the rate of the lowest loss; None where that is the first, or there is none.

    >>> suggest([1e-3, 1e-2, 1e-1, 1], [0.7, 0.6, 0.5, 0.9])
    0.01
    """
    if not smoothed or min(smoothed) >= smoothed[0]:
        return None
    return rates[smoothed.index(min(smoothed))] / _MARGIN
