"""JSON of bounded size, depth and numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsl.documents.guard import reading
from wsl.documents.text import LARGEST, read_text, text_lines
from wsl.errors import UserError

DEEPEST = 64
"""Maximum depth of nested lists and objects."""
_DIGITS = 20  # of the largest whole number of 64 bits
# Numbers that may not be finite or fit into 64 bits. If the text has none, json's own parsers of numbers are used; they
# are several times faster.
_UNUSUAL = re.compile(r"[0-9]{20}|[eE]\+?[0-9]{3}")


def load_json(path: Path, expected: str, largest: int = LARGEST) -> Any:
    """A JSON document, read into memory.

    Raises:
        UserError: it cannot be read, is larger than ``largest`` bytes, or is not JSON as `parse_json` takes it.
    """
    return parse_json(read_text(path, expected, largest), path, expected)


def parse_json(text: str | bytes, where: object, expected: str) -> Any:
    """A JSON document from its text; messages start with ``where``.

    Raises:
        UserError: it is not JSON, is nested more than 64 levels deep, has a whole number of more than 20 digits, or one
            that is not finite.

    >>> parse_json('{"size": [4, 2]}', "a.json", "a size")
    {'size': [4, 2]}
    >>> parse_json('{"size": [1e999, 2]}', "a.json", "a size")
    Traceback (most recent call last):
    wsl.errors.UserError: a.json: not JSON (the number 1e999 is not finite); expected a size
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        hooks = {"parse_int": _whole, "parse_float": _finite} if _UNUSUAL.search(text) else {}
        document = json.loads(text, parse_constant=_finite, **hooks)  # type: ignore[arg-type] # of one type each
        if _deeper(document, DEEPEST):
            raise RecursionError
    except RecursionError as error:
        raise UserError(f"{where}: not JSON (nested more than {DEEPEST} levels deep); expected {expected}") from error
    except ValueError as error:  # includes JSONDecodeError and UnicodeDecodeError
        raise UserError(f"{where}: not JSON ({error}); expected {expected}") from error
    return document


def json_lines(path: Path, expected: str) -> Iterator[tuple[int, Any]]:
    """The documents of a file with one per line, with their line numbers; one is in memory at a time.

    Raises:
        UserError: as for `load_json`; the message names the line.
    """
    for number, line in text_lines(path, expected):
        with reading(f"{path}:{number}", expected):
            yield number, parse_json(line, f"{path}:{number}", expected)


def _whole(text: str) -> int:
    if len(text) > _DIGITS + 1:
        raise ValueError(f"a whole number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is not finite")
    return number


def _deeper(document: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than ``levels`` deep."""
    level = [document]
    for _ in range(levels + 1):
        inner: list[Any] = []
        for one in level:
            if type(one) is dict:
                inner += [value for value in one.values() if type(value) in (dict, list)]
            elif type(one) is list:
                inner += [value for value in one if type(value) in (dict, list)]
        if not inner:
            return False
        level = inner
    return True
