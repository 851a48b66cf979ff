"""Checks shared by all settings."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from wsl.errors import UserError, nearest

F = TypeVar("F", bound=Callable[..., Any])
_LARGEST = 2**63
_PLAIN: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number of at most 64 bits",
    float: "a finite number",
    str: "a text",
    Path: "a path",
}


def check(condition: bool, message: str) -> None:
    """Refuse a setting that is out of range.

    Raises:
        UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(message)


def check_known(kind: str, name: str, known: Sequence[str]) -> None:
    """Refuse an unknown name; the message suggests the nearest known one, or lists all of them.

    >>> check_known("head", "akol", ["scm", "acol"])
    Traceback (most recent call last):
    wsl.errors.UserError: unknown head 'akol': did you mean 'acol'?
    """
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"expected one of {', '.join(known)}"
        raise UserError(f"unknown {kind} {name!r}: {hint}")


def checks_keywords(function: F) -> F:
    """Let a function refuse unknown keyword arguments as settings are refused, with the nearest known name.

    >>> @checks_keywords
    ... def predict(image, *, top_k=1):
    ...     return top_k
    >>> predict("a.jpg", topk=2)
    Traceback (most recent call last):
    wsl.errors.UserError: unknown setting 'topk': did you mean 'top_k'?
    """
    every = inspect.signature(function).parameters
    known = tuple(name for name in every if name not in ("self", "cls"))

    @functools.wraps(function)
    def called(*given: Any, **settings: Any) -> Any:
        for name in settings:
            if name not in every:
                check_known("setting", name, known)
        return function(*given, **settings)

    return typing.cast(F, called)


def spec_name(spec: str) -> str:
    """The name in a spec string, its words joined by hyphens; `heads.spec.parse_spec` without loading torch.

    >>> spec_name("gradient_rollout(start=1)")
    'gradient-rollout'
    """
    return spec.partition("(")[0].strip().replace("_", "-")


def check_batch_size(size: int | None) -> None:
    """Refuse an empty batch; None leaves the size to the device."""
    check(size is None or size >= 1, f"batch size is {size}, expected 1 or more")


def check_types(config: Any) -> None:
    """Refuse settings whose values do not have the types of their fields, or are not finite 64-bit numbers.

    Numbers of NumPy and torch become those of Python.

    Raises:
        UserError: a setting is refused; the message names it.

    >>> import numpy as np
    >>> from wsl.config import PickConfig
    >>> PickConfig(top_k=np.int64(2)).top_k
    2
    >>> PickConfig(score_threshold=float("nan"))
    Traceback (most recent call last):
    wsl.errors.UserError: score threshold is nan, expected a finite number
    """
    for name, kind in kinds(type(config)).items():  # type: ignore[arg-type] # types can be hashed
        value = plain(getattr(config, name))
        if not _fits(value, kind):
            raise UserError(f"{name.replace('_', ' ')} is {value!r:.80}, expected {_told(kind)}")
        object.__setattr__(config, name, value)  # settings are frozen


def plain(value: Any) -> Any:
    """A number of NumPy or torch, also in a sequence, as one of Python; any other value as it is.

    >>> import numpy as np
    >>> plain((np.int64(3), np.array(0.5))), plain("gap")
    ((3, 0.5), 'gap')
    """
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    return value.item() if getattr(value, "ndim", None) == 0 else value


@functools.cache
def kinds(config: type) -> Mapping[str, Any]:
    """The types of the fields of a dataclass, by name.

    >>> from wsl.config import PickConfig
    >>> kinds(PickConfig)["score_threshold"]
    <class 'float'>
    """
    hints = typing.get_type_hints(config)
    return {name: hints[name] for name in config.__dataclass_fields__}  # type: ignore[attr-defined] # a dataclass


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        inner = get_args(kind)
        return isinstance(value, (tuple, list)) and all(_fits(one, inner[0]) for one in value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and -_LARGEST <= value < _LARGEST
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is Path:
        return isinstance(value, (str, Path)) and value != "" and "\0" not in str(value)
    return not isinstance(kind, type) or is_dataclass(kind) or isinstance(value, kind)


def _told(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_told(one) for one in get_args(kind))
    if origin is Literal:
        return ", ".join(map(str, get_args(kind)))
    if origin is tuple:
        return f"a list, each {_told(get_args(kind)[0])}"
    return "None" if kind is type(None) else _PLAIN.get(kind, str(kind))
