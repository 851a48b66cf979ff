"""The door to numba: compiled on first call, without the interpreter's lock, and kept on disk where possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function over arrays and numbers with numba; a division by zero is infinite or NaN, as NumPy's.

    >>> @compiled
    ... def last(values):
    ...     return values[len(values) - 1]
    """
    # The check for a division by zero would keep loops from being vectorised.
    try:
        return cast(Function, numba.njit(nogil=True, error_model="numpy", cache=True)(function))
    except RuntimeError:
        # Neither the package's folder nor the user's can be written, or the source is no file: compile each time.
        return cast(Function, numba.njit(nogil=True, error_model="numpy")(function))
