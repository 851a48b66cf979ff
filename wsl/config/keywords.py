"""Settings as keywords: ``wsl.train("photos/", out="runs/mine", pooling="gap")`` instead of nested configs."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, get_args, get_origin, overload

from wsl.config.checks import kinds, plain
from wsl.errors import UserError, nearest

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Verb(Protocol[C_contra, R_co]):
    """A function that takes a config, or its input and settings by the names of the command's flags."""

    @overload
    def __call__(self, config: C_contra, /, **options: Any) -> R_co: ...

    @overload
    def __call__(self, *given: str | Path, **settings: Any) -> R_co: ...


def by_keywords(
    kind: type[C],
    first: str,
    base: Callable[[Mapping[str, Any]], C | None] = lambda settings: None,
    also: Mapping[str, Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]] = types.MappingProxyType({}),
) -> Callable[[Callable[..., R]], Verb[C, R]]:
    """Let a function of a config also take settings by keyword; ``first`` is the one that is given by position.

    ``base`` returns the config from which settings that are not given are taken; None for the defaults. The names in
    ``also`` are further keywords, each with a function from its value and the other settings to the settings that it
    stands for, which the others override. Keyword-only parameters of the function are passed on to it.
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
            for name in [name for name in also if name in settings]:
                settings = {**also[name](settings.pop(name), settings), **settings}
            return function(from_keywords(kind, settings, base(settings), also), **options)

        return called

    return decorate


def from_keywords(kind: type[C], settings: Mapping[str, Any], base: C | None = None, others: Iterable[str] = ()) -> C:
    """A config from settings given by name, whatever group they belong to; the others are those of ``base``.

    ``others`` are further names that a message may suggest.

    A group can also be given as a whole; settings given by name then override those in it. Where a path is expected, a
    string is converted. Where a sequence is expected, any iterable is accepted, and a single value becomes a sequence
    of one.

    Raises:
        UserError: a name is unknown (the nearest one is suggested), or a setting is missing or of another type.

    >>> from wsl.config import TrainConfig
    >>> from_keywords(TrainConfig, {"data": "VOC2012", "out": "runs/voc", "pooling": "gap"}).model.pooling
    'gap'
    >>> from_keywords(TrainConfig, {"data": "VOC2012", "out": "runs/voc", "poling": "gap"})
    Traceback (most recent call last):
    wsl.errors.UserError: unknown setting 'poling': did you mean 'pooling'?
    """
    known, groups = _names(kind), {one.name: group for one, group in _fields(kind) if group is not None}
    for name, value in settings.items():
        if name in known or isinstance(value, groups.get(name, ())):
            continue
        if name in groups:
            group = groups[name].__name__
            raise UserError(
                f"{name} is {value!r:.80}, expected a wsl.config.{group}, or its settings by their own names"
            )
        near = nearest(name, [*known, *others])
        hint = f"did you mean {near!r}?" if near else f"expected a field of wsl.config.{kind.__name__} or of its groups"
        raise UserError(f"unknown setting {name!r}: {hint}")
    chosen = _chosen(kind, settings, base)
    return _made(kind, chosen) if base is None else replace(base, **chosen)  # type: ignore[type-var]


def _names(kind: type) -> set[str]:
    """The names of all settings of a config, including those of its groups."""
    return {name for one, group in _fields(kind) for name in (_names(group) if group else {one.name})}


def _fields(kind: type) -> list[tuple[Field[Any], type | None]]:
    """The fields of a config, each with its dataclass if it is a group."""
    found = []
    for one in fields(kind):
        groups = [
            member for member in _members(kinds(kind)[one.name]) if isinstance(member, type) and is_dataclass(member)
        ]
        found.append((one, groups[0] if groups else None))
    return found


def groups_of(kind: type) -> dict[str, type]:
    """The dataclasses among the fields of a config, by name.

    >>> from wsl.config import CompareConfig
    >>> sorted(groups_of(CompareConfig))
    ['boxes', 'data', 'runtime']
    """
    return {one.name: group for one, group in _fields(kind) if group is not None}


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _chosen(kind: type, settings: Mapping[str, Any], base: Any) -> dict[str, Any]:
    """The fields of a config that differ from ``base`` (None: from its defaults), groups as dataclasses."""
    chosen = {}
    for one, group in _fields(kind):
        if group is None:
            if one.name in settings:
                chosen[one.name] = _converted(settings[one.name], _members(kinds(kind)[one.name]))
        elif isinstance(settings.get(one.name), group):
            whole: Any = settings[one.name]
            rest = {name: value for name, value in settings.items() if name != one.name}
            chosen[one.name] = replace(whole, **_chosen(group, rest, whole))
        else:
            before = _default(one) if base is None else getattr(base, one.name)
            inner = _chosen(group, settings, before)
            if inner:
                chosen[one.name] = _made(group, inner) if before is None else replace(before, **inner)
    return chosen


def _made(kind: type[C], chosen: Mapping[str, Any]) -> C:
    for one, _ in _fields(kind):
        if one.default is MISSING and one.default_factory is MISSING and one.name not in chosen:
            raise UserError(f"{one.name} is missing: expected {one.name}=…")
    return kind(**chosen)


def _default(one: Field[Any]) -> Any:
    """The default of a field; None if it has none."""
    if one.default_factory is not MISSING:
        return one.default_factory()
    return None if one.default is MISSING else one.default


def _converted(value: Any, members: tuple[Any, ...]) -> Any:
    """The value as a path or as a sequence, if the field expects that; a single value becomes a sequence of one."""
    value = plain(value)
    for member in members:
        if get_origin(member) is tuple and value is not None:
            inner = _members(get_args(member)[0])
            several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
            return tuple(_converted(one, inner) for one in (value if several else [value]))
    if Path in members and isinstance(value, str) and value:  # an empty text would be the current folder
        return Path(value)
    return str(value) if isinstance(value, Path) and str in members and Path not in members else value
