"""Values that are written in many ways in files: numbers and flags."""

from __future__ import annotations

import math
from typing import Any

from wsl.errors import UserError

_LARGEST = 1e18  # bound of coordinates and scores, so that their products stay within single precision
_YES = ("1", "1.0", "true", "yes")
_NO = ("0", "0.0", "false", "no", "", "none", "unspecified")


def number(value: Any, what: str) -> float:
    """A finite number, such as a coordinate or a score.

    Raises:
        UserError: the value is not a number, or is larger than any image.

    >>> number("1.5", "x")
    1.5
    """
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    # float() reads "1_0" as ten.
    if isinstance(value, bool) or not abs(result) < _LARGEST or (isinstance(value, str) and "_" in value):
        raise UserError(f"{what} is {value!r:.80}, expected a number")
    return result


def flag(value: Any, what: str) -> bool:
    """Whether a flag such as COCO's ``iscrowd`` or VOC's ``difficult`` is set, in any notation.

    A missing flag, or ``Unspecified`` as written by some tools, is not set.

    Raises:
        UserError: the value is neither true nor false.

    >>> [flag(value, "iscrowd") for value in (1, "1", True, 0, "0", None, "Unspecified")]
    [True, True, True, False, False, False, False]
    """
    word = str(value).strip().lower() if isinstance(value, (str, bool, int, float, type(None))) else "?"
    if word not in (*_YES, *_NO):
        raise UserError(f"{what} is {value!r:.80}, expected 0 or 1")
    return word in _YES
