"""Learning-rate range test: the loss over steps with an exponentially growing learning rate."""

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
# Decay of the exponential mean, and the multiple of its lowest value from which on the loss counts as diverged.
_DECAY, _DIVERGED = 0.9, 4.0
# The factor between the rate of the lowest loss and the suggestion.
_MARGIN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LrSearch:
    """The loss and the smoothed loss at each rate, and the suggested rate; None if the loss did not fall.

    The smoothed loss is a bias-corrected exponential mean with decay 0.9. The suggestion is a tenth of the rate at
    which the smoothed loss is lowest. The rates are those of the head.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None


@repeatable()
def search_lr(stepper: Stepper, batches: Iterable[Example], steps: int, advance: Advance) -> LrSearch:
    """Take `steps` steps at rates from 1e-6 to 1, fewer if the loss diverges; the weights are not restored.

    The backbone's rate remains the configured fraction of the head's. The search ends when the smoothed loss exceeds
    four times its lowest value, or when a loss is not finite.

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
    """Rates from the lowest to the highest, in geometric progression.

    >>> [f"{rate:.0e}" for rate in sweep(4)]
    ['1e-06', '1e-04', '1e-02', '1e+00']
    """
    return [LOWEST * (HIGHEST / LOWEST) ** (step / max(1, steps - 1)) for step in range(steps)]


def smooth(losses: Sequence[float]) -> list[float]:
    """Bias-corrected exponential means of the losses: each is divided by the sum of its weights.

    >>> smooth([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = _DECAY * mean + (1 - _DECAY) * loss
        found.append(mean / (1 - _DECAY**number))
    return found


def suggest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """A tenth of the rate of the lowest loss; None if the first loss is the lowest, or there are no losses.

    >>> suggest([1e-3, 1e-2, 1e-1, 1], [0.7, 0.6, 0.5, 0.9])
    0.01
    """
    if not smoothed or min(smoothed) >= smoothed[0]:
        return None
    return rates[smoothed.index(min(smoothed))] / _MARGIN
