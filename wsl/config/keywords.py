"""Settings as keywords: ``wsl.train("photos/", out="runs/mine", pooling="gap")`` in the place of nested configs."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, overload

from wsl.errors import UserError, nearest

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Verb(Protocol[C_contra, R_co]):
    """A function that takes a config, or what it works on and settings by the names of the command's flags."""

    @overload
    def __call__(self, config: C_contra, /, **options: Any) -> R_co: ...

    @overload
    def __call__(self, *given: str | Path, **settings: Any) -> R_co: ...


def by_keywords(kind: type[C], first: str) -> Callable[[Callable[..., R]], Verb[C, R]]:
    """Let a function of a config take keywords too; ``first`` is the setting that is given without its name.

    Keywords that the function has itself stay its own.
    """

    def decorate(function: Callable[..., R]) -> Verb[C, R]:
        own = {name for name, one in inspect.signature(function).parameters.items() if one.kind is one.KEYWORD_ONLY}

        @functools.wraps(function)
        def called(*given: Any, **settings: Any) -> R:
            if len(given) == 1 and isinstance(given[0], kind):
                return function(given[0], **settings)
            options = {name: settings.pop(name) for name in own & set(settings)}
            if given:
                if first in settings:
                    raise UserError(f"{first} is given twice, without its name and with it: expected one of them")
                settings[first] = given if len(given) > 1 else given[0]
            return function(from_keywords(kind, settings), **options)

        return called

    return decorate


def from_keywords(kind: type[C], settings: Mapping[str, Any]) -> C:
    """A config of settings by their own names, whatever group they are in; groups can be given whole, too.

    Texts are taken for paths, and single values for sequences of one, where these are expected.

    Raises:
        UserError: a name is not known (the nearest one is suggested), a setting is missing or not of its type.

    >>> from wsl.config import TrainConfig
    >>> from_keywords(TrainConfig, {"data": "VOC2012", "out": "runs/voc", "pooling": "gap"}).model.pooling
    'gap'
    >>> from_keywords(TrainConfig, {"data": "VOC2012", "out": "runs/voc", "poling": "gap"})
    Traceback (most recent call last):
    wsl.errors.UserError: unknown setting 'poling': did you mean 'pooling'?
    """
    known = _names(kind)
    for name in settings:
        if name not in known:
            near = nearest(name, known)
            raise UserError(f"unknown setting {name!r}: " + (f"did you mean {near!r}?" if near else _told(kind)))
    config = _built(kind, settings, MISSING)
    assert isinstance(config, kind)
    return config


def _told(kind: type) -> str:
    return f"expected a field of wsl.config.{kind.__name__} or of its groups"


def _names(kind: type) -> set[str]:
    """The names of all settings of a config, those of its groups included."""
    names = set()
    for one, group in _fields(kind):
        names |= {one.name} if group is None else {one.name} | _names(group)
    return names


def _fields(kind: type) -> list[tuple[Field[Any], type | None]]:
    """The fields of a config, with the dataclass of those that are groups."""
    hints = typing.get_type_hints(kind)
    found = []
    for one in fields(kind):
        groups = [member for member in _members(hints[one.name]) if isinstance(member, type) and is_dataclass(member)]
        found.append((one, groups[0] if groups else None))
    return found


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _built(kind: type, settings: Mapping[str, Any], base: Any) -> Any:
    """A config of the settings that are its own, on top of another one; that itself where there are none."""
    hints, chosen = typing.get_type_hints(kind), {}
    for one, group in _fields(kind):
        if group is not None and not isinstance(settings.get(one.name), group):
            default = one.default if one.default_factory is MISSING else one.default_factory()
            inner = _built(group, settings, default if base is MISSING else getattr(base, one.name))
            if inner is not MISSING:
                chosen[one.name] = inner
        elif one.name in settings:
            chosen[one.name] = _converted(settings[one.name], _members(hints[one.name]))
    if not chosen and base is not MISSING:
        return base
    if is_dataclass(base):
        return replace(base, **chosen)  # type: ignore[type-var] # an instance, as `base` is a default
    missing = [one.name for one, _ in _fields(kind) if _required(one) and one.name not in chosen]
    if missing:
        raise UserError(f"{missing[0]} is missing: expected {missing[0]}=…")
    return kind(**chosen)


def _required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _converted(value: Any, members: tuple[Any, ...]) -> Any:
    """A text as a path, and one value as a sequence of one, where nothing else is expected."""
    for member in members:
        if get_origin(member) is tuple and value is not None:
            inner = _members(get_args(member)[0])
            values = value if isinstance(value, (list, tuple)) else [value]
            return tuple(_converted(one, inner) for one in values)
    if Path in members and isinstance(value, str):
        return Path(value)
    return str(value) if isinstance(value, Path) and str in members and Path not in members else value
