"""Check of a command's arguments before they are parsed: each mistake becomes one line that suggests what was meant."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from tyro.conf import Positional

from wsl.cli.other_tools import check_other_tools
from wsl.config.checks import check_known
from wsl.errors import UserError, nearest

_HELP = ("help", "h")
_NUMBERS: Mapping[Any, str] = types.MappingProxyType({int: "a whole number", float: "a number"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """What a flag takes: one of `choices` if there are any, or a value of one of the types `kinds`; a switch nothing.

    `on` is whether a switch is on by default, and is turned off by ``--no-NAME``.
    """

    choices: tuple[str, ...]
    kinds: tuple[Any, ...]
    several: bool
    positional: bool
    required: bool
    on: bool

    @property
    def is_switch(self) -> bool:
        """Whether it takes no value."""
        return self.kinds == (bool,)

    @property
    def expected(self) -> str:
        """The values that it takes, for a message."""
        text = f"one of {', '.join(self.choices)}" if self.choices else self._number or self._text
        return f"{text} or None" if type(None) in self.kinds and not self.choices else text

    @property
    def _number(self) -> str:
        return next((text for kind, text in _NUMBERS.items() if kind in self.kinds), "")

    @property
    def _text(self) -> str:
        return "a path" if Path in self.kinds else "a text"

    def spelled(self, name: str, *, pairs: bool) -> tuple[str, ...]:
        """The names under which it can be given; with `pairs`, a switch has two."""
        if not self.is_switch:
            return (name,)
        both = (name, f"no_{name}")
        return both if pairs else both[self.on :][:1]

    def check(self, flag: str, value: str) -> None:
        """Refuse a value that is empty, or is not a choice or not a number.

        Raises:
            UserError: the value is refused.
        """
        if not value:  # as a path, it would be the current folder
            raise UserError(f"{flag} has an empty value (an unset variable of the shell?): expected {self.expected}")
        if value == "None" and type(None) in self.kinds:
            return
        if self.choices:
            check_known(f"value of {flag}", value, self.choices)
        if self._number and not any(kind in self.kinds and _is_a(kind, value) for kind in _NUMBERS):
            raise UserError(f"{flag} is {value!r}, expected {self.expected}")


def check_flags(args: Sequence[str], kind: Any, *, required: bool = True, example: str = "") -> None:
    """Refuse unknown flags, values that are not a choice or not a number, and calls without a required flag.

    `kind` is the dataclass of the command's settings. Without `required`, they have defaults from a file. `example` is
    a whole command to show if a value is missing or follows no flag.

    Raises:
        UserError: an argument is refused.

    >>> from wsl.config import BoxConfig
    >>> check_flags(["--box-rule", "larges"], BoxConfig)
    Traceback (most recent call last):
    wsl.errors.UserError: unknown value of --box-rule 'larges': did you mean 'largest'?
    >>> check_flags(["--treshold", "0.5"], BoxConfig)
    Traceback (most recent call last):
    wsl.errors.UserError: unknown flag --treshold: did you mean --threshold?
    """
    flags = flags_of(kind)
    given = list(_groups(args, flags))
    if any(name in _HELP for name, _, _ in given):
        return
    as_in = f", as in {example}" if example else "; see --help"
    before = ""
    for name, written, values in given:
        if name and not name.startswith("tyro_"):  # flags with which tyro prints shell completions
            _check_name(name, written, flags, before, pairs=not required)
            if name in flags:
                _check_values(written, flags[name], values)
        before = written if name in flags and not flags[name].is_switch else ""
    places = [flag for flag in flags.values() if flag.positional]
    loose = [value for name, _, values in given if not name for value in values]
    if "" in loose:
        raise UserError(f"an argument is empty (an unset variable of the shell?): expected a value{as_in}")
    if len(loose) > len(places) and not any(place.several for place in places):
        raise UserError(f"unexpected {loose[len(places)]!r}: expected a flag before it{as_in}")
    names = {name for name, _, _ in given}
    missing = [
        name if flag.positional else f"--{_hyphens(name)}"
        for name, flag in flags.items()
        if flag.required and not (flag.several or loose if flag.positional else name in names)
    ]
    if required and missing:
        it = "it" if len(missing) == 1 else "them"
        raise UserError(f"no {' and no '.join(missing)} given: expected {it}{as_in}")


def _check_name(name: str, written: str, flags: Mapping[str, Flag], before: str, *, pairs: bool) -> None:
    """Refuse a flag that a command lacks; with `pairs`, each switch has one that turns it on and one that turns it off.

    `before` is the flag with values that it follows, and of which it may be meant as a value; empty if there is none.

    Raises:
        UserError: there is no such flag; the message suggests what to give instead.
    """
    named = {one: flag for one, flag in flags.items() if not flag.positional}
    meant = name if name in named else name.removeprefix("no_")
    if meant in named and (named[meant].is_switch or name == meant):
        spelled = named[meant].spelled(meant, pairs=pairs)
        if name in spelled:
            return
        now = "on" if named[meant].on else "off"
        raise UserError(f"unknown flag {written}: it is {now} unless --{_hyphens(spelled[0])} is given")
    check_other_tools(written, flags)
    near = nearest(name, named)
    hint = "--help lists all flags" if near is None else f"did you mean --{_hyphens(near)}?"
    if near is None and before:
        hint += f"; a value of {before} that begins with a dash comes first, as {before}={written}"
    raise UserError(f"unknown flag {written}: {hint}")


def _check_values(written: str, flag: Flag, values: Sequence[str]) -> None:
    if not values and not flag.several and not flag.is_switch:
        raise UserError(f"{written} has no value: expected {flag.expected}")
    for value in values:
        flag.check(written, value)


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


def _groups(args: Sequence[str], flags: Mapping[str, Flag]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Each flag as its name in snake case, as it was written, and with its values; other arguments under no name."""
    position = 0
    while position < len(args):
        written, equals, value = args[position].partition("=")
        position += 1
        if not _is_flag(written):
            yield "", "", args[position - 1 : position]
            continue
        name = written.lstrip("-").replace("-", "_")
        if equals:
            yield name, written, (value,)
            continue
        end = position
        while end < len(args) and not _is_flag(args[end]) and end - position < _most(flags.get(name)):
            end += 1
        yield name, written, args[position:end]
        position = end


def _most(flag: Flag | None) -> float:
    """The largest number of values that a flag takes; any number for an unknown flag, which is refused anyway."""
    if flag is None or flag.several:
        return float("inf")
    return 0 if flag.is_switch else 1


def _is_flag(arg: str) -> bool:
    return arg.startswith("--") or re.match(r"-(?!(inf|infinity|nan)$)[^\W\d_]", arg, re.IGNORECASE) is not None


def _is_a(kind: Any, value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


@functools.cache
def flags_of(kind: Any) -> Mapping[str, Flag]:
    """The flags and positional arguments of a command by their names in snake case, including those of groups.

    >>> from wsl.config import PickConfig
    >>> sorted(flags_of(PickConfig))
    ['classes', 'score_threshold', 'top_k']
    """
    origin = get_origin(kind) or kind
    parameters = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=True))
    hints = typing.get_type_hints(origin, include_extras=True)
    found: dict[str, Flag] = {}
    for one in dataclasses.fields(origin):
        hint, *marks = get_args(hints[one.name]) if get_origin(hints[one.name]) is Annotated else (hints[one.name],)
        members = _members(parameters.get(hint, hint))
        groups: list[Any] = [member for member in members if dataclasses.is_dataclass(member)]
        if groups:
            found.update(flags_of(groups[0]))
        else:
            name = next((mark.name for mark in marks if getattr(mark, "name", None)), one.name)
            found[name] = _flag(one, members, positional=Positional in marks)
    return found


def _flag(one: dataclasses.Field[Any], members: tuple[Any, ...], *, positional: bool) -> Flag:
    several = [member for member in members if get_origin(member) is tuple]
    kinds = get_args(several[0])[:1] if several else members
    return Flag(
        choices=tuple(str(choice) for kind in kinds for choice in _choices(kind, kinds)),
        kinds=kinds,
        several=bool(several),
        positional=positional,
        required=one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING,
        on=one.default is True,
    )


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _choices(kind: Any, others: Sequence[Any]) -> tuple[Any, ...]:
    """The values of a Literal; a bool takes a value only if it can also be None."""
    if kind is bool and len(others) > 1:
        return True, False
    return get_args(kind) if get_origin(kind) is Literal else ()
