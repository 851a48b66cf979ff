"""Errors of other processes as values, so that they are raised here as they were there."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from wsl.documents.guard import describe
from wsl.errors import RunError, UserError

T = TypeVar("T")

_EXPLAINED = (UserError, RunError, OSError, MemoryError)
"""What a command explains in a line; the traceback of any other error is needed to mend it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of another process."""

    error: BaseException


def attempt(work: Callable[..., T], *values: Any) -> T | Failure:
    """The result of `work` with some arguments, or the error that a command would explain in a line.

    Ray wraps errors that a task raises in its own, with a traceback as their message, but not values.

    >>> attempt(int, "7"), attempt(open, "no such file").error.filename
    (7, 'no such file')
    """
    try:
        return work(*values)
    except _EXPLAINED as error:
        return Failure(sendable(error))


def result(outcome: T | Failure) -> T:
    """The result of an attempt.

    Raises:
        BaseException: the attempt failed with it.

    >>> result(attempt(int, "7"))
    7
    """
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def sendable(error: BaseException) -> BaseException:
    """The error, or if it cannot be pickled, another one that names it.

    >>> sendable(UserError("no such class"))
    UserError('no such class')
    """
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return RuntimeError(describe(error))
    return error
