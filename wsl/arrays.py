"""Arrays of numbers from what users pass as such."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError, first_line


def as_numbers(values: npt.ArrayLike, what: str, dtype: npt.DTypeLike | None = np.float64) -> npt.NDArray[Any]:
    """An array of numbers of a type; with None, of their own type.

    Raises:
        UserError: the values are not numbers, or are lists of different lengths; ``what`` names them in the plural.

    >>> as_numbers([1, 0.5], "scores").tolist(), as_numbers([True], "flags", None).tolist()
    ([1.0, 0.5], [True])
    >>> as_numbers(["high"], "scores")
    Traceback (most recent call last):
    wsl.errors.UserError: scores are not numbers (could not convert string to float: 'high'): expected an array of ...
    """
    try:
        numbers = np.asarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} are not numbers ({first_line(error)}): expected an array of numbers") from error
    if numbers.dtype.kind not in "biuf":
        raise UserError(f"{what} are not numbers ({numbers.dtype}): expected an array of numbers")
    return numbers
