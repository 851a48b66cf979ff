"""Compilation with numba: on first call, without the interpreter's lock, and cached on disk if possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function of arrays and numbers with numba; division by zero gives infinity or NaN, as in NumPy.

    >>> @compiled
    ... def last(values):
    ...     return values[len(values) - 1]
    """
    # Checking for division by zero would prevent loops from being vectorised.
    try:
        return cast(Function, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:
        # Neither the package's folder nor the user's is writable, or the source is not a file: compile each time.
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))
