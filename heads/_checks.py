"""Checks of public arguments; errors say what was given, what was expected and what to do."""

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor


def check_maps(maps: Tensor, name: str = "maps") -> None:
    """Accept floating point (N, C, H, W) or (C, H, W) with at least one location; N may be 0.

    Raises:
        TypeError: the argument is not a floating point tensor.
        ValueError: the number of dimensions is another one, or there is no location to pool.

    >>> check_maps(torch.ones(20, 7, 7, dtype=torch.uint8))
    Traceback (most recent call last):
    TypeError: maps are torch.uint8, expected floating point numbers: convert them with maps.float()
    """
    check_floating(maps, name)
    if maps.ndim not in (3, 4):
        raise ValueError(
            f"{name} have shape {tuple(maps.shape)}, expected (N, C, H, W) or (C, H, W): "
            "add or merge dimensions with reshape()"
        )
    if maps.shape[-1] == 0 or maps.shape[-2] == 0:
        raise ValueError(
            f"{name} have shape {tuple(maps.shape)} without any location, expected H >= 1 and W >= 1: "
            "give larger images or a smaller stride"
        )


def check_features(features: Tensor, channels: int, name: str = "features", *, of: str = "encoder") -> None:
    """Accept floating point (N, C, H, W) or (C, H, W) with ``channels`` channels and at least one location.

    ``of`` names the module for the message.

    Raises:
        TypeError: the argument is not a floating point tensor.
        ValueError: the shape is another one.

    >>> check_features(torch.ones(1, 3, 7, 7), 8)
    Traceback (most recent call last):
    ValueError: features have shape (1, 3, 7, 7), expected 8 channels: build the encoder for this backbone's channels
    """
    check_maps(features, name)
    if features.shape[-3] != channels:
        raise ValueError(
            f"{name} have shape {tuple(features.shape)}, expected {channels} channels: "
            f"build the {of} for this backbone's channels"
        )


def check_attention(attention: Tensor, maps: Tensor) -> None:
    """Accept attention (N, h, w) over the locations of maps (N, K, h, w); or both without N.

    Raises:
        ValueError: the shape is another one.

    >>> check_attention(torch.ones(1, 7, 7), torch.ones(1, 20, 8, 8))
    Traceback (most recent call last):
    ValueError: attention has shape (1, 7, 7), expected (1, 8, 8): one number a location of the maps
    """
    expected = (*maps.shape[:-3], *maps.shape[-2:])
    if tuple(attention.shape) != expected:
        raise ValueError(
            f"attention has shape {tuple(attention.shape)}, expected {expected}: one number a location of the maps"
        )


def check_floating(maps: object, name: str) -> None:
    """Accept a floating point tensor.

    Raises:
        TypeError: the argument is something else.

    >>> check_floating([0.5], "maps")
    Traceback (most recent call last):
    TypeError: maps are a list, expected a tensor: use torch.as_tensor()
    """
    if not isinstance(maps, Tensor):
        raise TypeError(f"{name} are a {type(maps).__name__}, expected a tensor: use torch.as_tensor()")
    if not maps.is_floating_point():
        raise TypeError(f"{name} are {maps.dtype}, expected floating point numbers: convert them with {name}.float()")


def check_flag(value: object, name: str) -> bool:
    """Accept True or False.

    Raises:
        TypeError: the value is something else.

    >>> check_flag(1, "ceil_mode")
    Traceback (most recent call last):
    TypeError: ceil_mode is 1, expected True or False
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}, expected True or False")
    return value


def check_number(value: object, name: str) -> float:
    """Accept a real number, returned as a float; infinity is accepted, NaN and bool are not.

    Raises:
        TypeError: the value is not a real number.
        ValueError: the value is NaN, or above the largest float.

    >>> check_number(4, "beta")
    4.0
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}, expected a number: try {name}=1")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} is above the largest float, expected a number such as 1") from None
    if number != number:  # math.isnan has no symbolic form, and a compiler may have made this float a symbol
        raise ValueError(f"{name} is nan, expected a number: try {name}=1")
    return number


def check_positive_int(value: object, name: str) -> int:
    """Accept an integer of 1 or more.

    Raises:
        TypeError: the value is not an integer.
        ValueError: the value is below 1.

    >>> check_positive_int(0, "maps_per_class")
    Traceback (most recent call last):
    ValueError: maps_per_class is 0, expected 1 or more
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}, expected an integer of 1 or more")
    number = int(value)
    if number < 1:
        raise ValueError(f"{name} is {number}, expected 1 or more")
    return number


def check_size(value: object, name: str) -> int:
    """Accept a number of classes or channels; a head replaces "auto" by it before this check.

    Raises:
        TypeError: the value is not an integer.
        ValueError: the value is below 1, or "auto" without a head.

    >>> check_size("auto", "classes")
    Traceback (most recent call last):
    ValueError: classes is 'auto', which only a head can fill in: give their number, such as classes=20
    """
    if value == "auto":
        raise ValueError(f"{name} is 'auto', which only a head can fill in: give their number, such as {name}=20")
    return check_positive_int(value, name)


def check_learnable(learnable: object, classes: object) -> tuple[bool, int | None]:
    """Accept ``learnable``, and ``classes`` as a number or None.

    Raises:
        TypeError, ValueError: a value has the wrong type, or ``classes`` is given without ``learnable``.

    >>> check_learnable(True, 20)
    (True, 20)
    """
    learns = check_flag(learnable, "learnable")
    if classes is None:
        return learns, None
    if not learns:
        raise ValueError(f"classes is {classes!r} and learnable False: expected learnable=True, or no classes")
    return learns, check_size(classes, "classes")


def check_per_map(value: Tensor, maps: Tensor, name: str) -> None:
    """Accept a floating point number for all maps, or one for each.

    Raises:
        ValueError: the shape or dtype is another one.

    >>> check_per_map(torch.ones(3), torch.ones(2, 4, 4), "beta")
    Traceback (most recent call last):
    ValueError: beta has shape (3,) and torch.float32, expected a floating point scalar or one for each of 2 maps
    """
    if value.ndim > 1 or not value.is_floating_point() or (value.ndim == 1 and value.shape[0] != maps.shape[-3]):
        raise ValueError(
            f"{name} has shape {tuple(value.shape)} and {value.dtype}, expected a floating point scalar or one for "
            f"each of {maps.shape[-3]} maps"
        )


def check_scalar(value: Tensor, name: str) -> None:
    """Accept a single floating point number.

    Raises:
        ValueError: the shape or dtype is another one.

    >>> check_scalar(torch.ones(3), "p")
    Traceback (most recent call last):
    ValueError: p has shape (3,) and torch.float32, expected a floating point scalar
    """
    if value.ndim != 0 or not value.is_floating_point():
        raise ValueError(f"{name} has shape {tuple(value.shape)} and {value.dtype}, expected a floating point scalar")


def check_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """Accept one of the choices.

    Raises:
        ValueError: the value is not among them.

    >>> check_choice("ceil", "rounding", ("floor", "round"))
    Traceback (most recent call last):
    ValueError: rounding is 'ceil', expected 'floor' or 'round'
    """
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, choices))}")


def check_exponent(p: object) -> float:
    """Accept the exponent of a power average, above 0; infinity is accepted.

    Raises:
        TypeError, ValueError: the value is not a number above 0.

    >>> check_exponent(3)
    3.0
    """
    number = check_number(p, "p")
    if number <= 0:
        raise ValueError(f"p is {number}, expected an exponent above 0: try p=3")
    return number


def check_eps(eps: object) -> float:
    """Accept a lower bound for values, above 0 and finite.

    Raises:
        TypeError, ValueError: the value is not a finite number above 0.

    >>> check_eps(1e-6)
    1e-06
    """
    number = check_number(eps, "eps")
    if not 0 < number < math.inf:
        raise ValueError(f"eps is {number}, expected a small number above 0: try eps=1e-6")
    return number


def check_non_negative(maps: Tensor, instead: str) -> None:
    """Refuse maps with negative values; ``instead`` is the argument with which they are accepted.

    Skipped while a compiler or a function transform traces, because values are not known then.

    Raises:
        ValueError: a value is negative.

    >>> check_non_negative(torch.tensor([[[1.0, -2.0]]]), "of='probabilities'")
    Traceback (most recent call last):
    ValueError: maps go down to -2, expected 0 or more: rectify them with torch.relu(), or use of='probabilities'
    """
    if torch.compiler.is_compiling() or maps.numel() == 0:
        return
    try:
        lowest = maps.detach().amin().item()
    except RuntimeError:  # under torch.func.vmap there is no single value
        return
    if lowest < 0:
        raise ValueError(
            f"maps go down to {lowest:g}, expected 0 or more: rectify them with torch.relu(), or use {instead}"
        )


def accumulation_dtype(maps: Tensor) -> torch.dtype:
    """The dtype of sums over locations: float32, or float64 for float64 maps.

    >>> accumulation_dtype(torch.ones(1, dtype=torch.bfloat16))
    torch.float32
    """
    return torch.promote_types(maps.dtype, torch.float32)
