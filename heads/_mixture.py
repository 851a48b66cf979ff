"""The weight of a mixture of two poolings, from 0 to 1: fixed, a probability for random draws, or a learnt logit."""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_choice, check_number

Mode: TypeAlias = Literal["fixed", "learned", "random"]
Draw: TypeAlias = Literal["element", "channel", "layer"]


def check_mixing(mode: str, draw: str, *, learned: bool = False) -> None:
    """Check how a weight is used and the unit of its random draws; ``learned`` allows the mode "learned".

    Raises:
        ValueError: the mode or the draw is unknown.

    >>> check_mixing("learned", "layer")
    Traceback (most recent call last):
    ValueError: mode is 'learned', expected 'fixed' or 'random'
    """
    check_choice(mode, "mode", ("fixed", "learned", "random") if learned else ("fixed", "random"))
    check_choice(draw, "draw", ("element", "channel", "layer"))


def check_weight(value: object, name: str, weighed: str) -> float:
    """Accept a weight from 0 to 1; ``weighed`` says of what, for the message.

    Raises:
        TypeError, ValueError: the value is not a number in [0, 1].

    >>> check_weight(2, "lam", "the maximum")
    Traceback (most recent call last):
    ValueError: lam is 2.0, expected the weight of the maximum in [0, 1]: try lam=0.5
    """
    number = check_number(value, name)
    if not 0 <= number <= 1:
        raise ValueError(f"{name} is {number}, expected the weight of {weighed} in [0, 1]: try {name}=0.5")
    return number


def learnt_logit(weight: float, name: str, instead: str = "") -> nn.Parameter:
    """The logit of a learnt weight as a parameter, which keeps the weight between 0 and 1.

    Raises:
        ValueError: the weight is 0 or 1, where the logit is infinite.

    >>> learnt_logit(0.5, "lam").item()
    0.0
    """
    if not 1e-6 <= weight <= 1 - 1e-6:
        raise ValueError(f"{name} is {weight:.9g}, a limit that cannot be learnt from: start at {name}=0.5{instead}")
    return nn.Parameter(torch.tensor(math.log(weight / (1 - weight))))


def weight_in_use(given: float, logit: Tensor | None) -> float | Tensor:
    """The weight to pool with: the sigmoid of the logit, with its gradient, or the given one without a logit.

    >>> weight_in_use(0.3, None), weight_in_use(0.3, torch.tensor(0.0))
    (0.3, tensor(0.5000))
    """
    return given if logit is None else logit.to(accumulation_dtype(logit)).sigmoid()


def weight_to_show(given: float, logit: Tensor | None) -> float:
    """The weight in use as a number.

    >>> weight_to_show(0.3, torch.tensor(0.0))
    0.5
    """
    return given if logit is None else logit.detach().double().sigmoid().item()
