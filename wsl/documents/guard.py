"""Errors inside readers of untrusted files as one line that says where."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

from wsl.errors import BadImageError, RunError, UserError, printable

P = ParamSpec("P")
T = TypeVar("T")
_LONGEST = 200


@contextlib.contextmanager
def located(where: object) -> Iterator[None]:
    """Prefix the errors of a block with ``where``, unless their messages already start with it.

    >>> with located("a.csv:3"):
    ...     raise UserError("width is 'x', expected a number")
    Traceback (most recent call last):
    wsl.errors.UserError: a.csv:3: width is 'x', expected a number
    """
    try:
        yield
    except BadImageError:  # names its own file
        raise
    except UserError as error:
        if str(error).startswith(printable(str(where))):
            raise
        raise UserError(f"{where}: {error}") from error


@contextlib.contextmanager
def reading(where: object, expected: str) -> Iterator[None]:
    """Turn any error that a damaged or hostile file causes in the block into one line, with its cause attached.

    Readers check for errors that they can explain. This handles the rest: lists instead of texts, numbers beyond every
    type, exceptions of libraries. ``expected`` says what the file should contain.

    >>> with reading("a.json", "a list of records"):
    ...     [][0]
    Traceback (most recent call last):
    wsl.errors.UserError: a.json: malformed (IndexError: list index out of range); expected a list of records
    """
    try:
        yield
    except (UserError, RunError):
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())[:_LONGEST]
        raise UserError(f"{where}: cannot be read ({reason}); expected {expected}") from error
    except MemoryError as error:
        raise UserError(f"{where}: reading it takes more memory than there is; expected {expected}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text (byte {error.start}); expected {expected}") from error
    except Exception as error:
        raise UserError(f"{where}: malformed ({describe(error)}); expected {expected}") from error


def guarded(expected: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Wrap a reader whose first argument is a path in `reading`, including the items of an iterator that it returns.

    >>> @guarded("numbers")
    ... def numbers(path):
    ...     yield 1
    ...     yield int(path)
    >>> list(numbers("1x"))
    Traceback (most recent call last):
    wsl.errors.UserError: 1x: malformed (ValueError: invalid literal for int() with base 10: '1x'); expected numbers
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(read)
        def safe(*args: P.args, **options: P.kwargs) -> T:
            path = args[0] if args else next(iter(options.values()))
            with reading(path, expected):
                result = read(*args, **options)
            return _each(result, path, expected) if isinstance(result, Iterator) else result  # type: ignore[return-value] # of the same items

        return safe

    return decorate


def _each(items: Iterator[Any], path: object, expected: str) -> Iterator[Any]:
    with reading(path, expected):
        yield from items


def describe(error: BaseException) -> str:
    """An error's type and the start of its text, on one line.

    >>> describe(ValueError("first\\nsecond"))
    'ValueError: first second'
    """
    text = " ".join(str(error)[: 4 * _LONGEST].split())[:_LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
