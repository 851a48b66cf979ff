"""Values that files write in many ways: numbers and flags."""

from __future__ import annotations

import math
from typing import Any

from wsl.errors import UserError

_LARGEST = 1e18  # of coordinates and scores, which single precision holds with all that they are multiplied by
_YES = ("1", "1.0", "true", "yes")
_NO = ("0", "0.0", "false", "no", "", "none", "unspecified")


def number(value: Any, what: str) -> float:
    """A finite number, as coordinates and scores are.

    Raises:
        UserError: it is none, or beyond all sizes of images.

    >>> number("1.5", "x")
    1.5
    """
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    # Python's own reading of texts takes 1_0 for ten.
    if isinstance(value, bool) or not abs(result) < _LARGEST or (isinstance(value, str) and "_" in value):
        raise UserError(f"{what} is {value!r:.80}, expected a number")
    return result


def flag(value: Any, what: str) -> bool:
    """Whether a mark such as COCO's ``iscrowd`` or VOC's ``difficult`` is set, in whatever way it is written.

    A mark that is missing, or ``Unspecified`` as some tools have it, is not set.

    Raises:
        UserError: it is neither a yes nor a no.

    >>> [flag(value, "iscrowd") for value in (1, "1", True, 0, "0", None, "Unspecified")]
    [True, True, True, False, False, False, False]
    """
    word = str(value).strip().lower() if isinstance(value, (str, bool, int, float, type(None))) else "?"
    if word not in (*_YES, *_NO):
        raise UserError(f"{what} is {value!r:.80}, expected 0 or 1")
    return word in _YES
