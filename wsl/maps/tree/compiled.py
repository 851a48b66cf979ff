"""The door to numba: compiled on first call, without the interpreter's lock, and kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function over arrays and numbers with numba.

    >>> @compiled
    ... def last(values):
    ...     return values[len(values) - 1]
    """
    try:
        kept: Function = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written, or the source is no file: compile each time.
        kept = numba.njit(nogil=True)(function)
    return kept
