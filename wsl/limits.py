"""Limits on sizes stated in files: the pixels of an image, and thereby the memory of everything of its size."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

from wsl.errors import BadImageError, UserError

MAX_PIXELS = 200_000_000
"""Default maximum number of pixels of an image: 0.6 GB as 8-bit RGB."""
# Pillow stores a pointer for each row, however short the row is.
MAX_SIDE = 1_000_000

_allowed = contextvars.ContextVar("max_pixels", default=MAX_PIXELS)


def allow(pixels: int) -> None:
    """Set the maximum number of pixels of an image, in a thread or process that was started for one task.

    >>> allow(MAX_PIXELS)
    """
    _allowed.set(pixels)


def max_pixels() -> int:
    """The maximum number of pixels of an image in this thread.

    >>> max_pixels()
    200000000
    """
    return _allowed.get()


@contextlib.contextmanager
def allowing(pixels: int | None) -> Iterator[None]:
    """Set the maximum number of pixels of an image inside the block, in this thread; None leaves it unchanged.

    Raises:
        UserError: the number is not positive.

    >>> with allowing(10**9):
    ...     max_pixels()
    1000000000
    """
    if pixels is not None and pixels < 1:
        raise UserError(f"max pixels is {pixels}, expected 1 or more: the default is {MAX_PIXELS}")
    token = _allowed.set(_allowed.get() if pixels is None else pixels)
    try:
        yield
    finally:
        _allowed.reset(token)


def check_size(size: tuple[int, int], most: int | None = None, source: str = "its header") -> None:
    """Check that a (width, height) is within the limits; `source` says where it is stated.

    ``most`` is the maximum number of pixels; None takes `max_pixels`.

    Raises:
        BadImageError: there are no pixels, too many in total, or too many along a side.

    >>> check_size((1, 300_000_000))
    Traceback (most recent call last):
    wsl.errors.BadImageError: 1 x 300000000 pixels by its header, expected at most 200,000,000 in all and 1,000,000 ...
    """
    most = max_pixels() if most is None else most
    width, height = size
    if min(size) < 1:
        raise BadImageError(f"{width} x {height} pixels by {source}, expected 1 or more to a side")
    if width * height > most or max(size) > MAX_SIDE:
        raise BadImageError(
            f"{_told(width)} x {_told(height)} pixels by {source}, expected at most {most:,} in all and {MAX_SIDE:,} "
            "to a side; shrink it first, or allow more with --max-pixels"
        )


def _told(side: int) -> str:
    return str(side) if side < 10**15 else f"{side:.3g}"


def stated_size(width: object, height: object, where: str) -> tuple[int, int]:
    """The (width, height) stated in a file, as integers or texts of integers.

    Raises:
        UserError: one of them is not a positive integer, or they exceed the limits of `check_size`.

    >>> stated_size("640", 480.0, "a.xml")
    (640, 480)
    """
    sides = []
    for name, value in (("width", width), ("height", height)):
        side = _whole(value)
        if side is None or side < 1:
            raise UserError(f"{where}: {name} is {value!r:.40}, expected a positive whole number of pixels")
        sides.append(side)
    try:
        check_size((sides[0], sides[1]), source="what is stated")
    except BadImageError as error:
        raise UserError(f"{where}: {error}") from None
    return sides[0], sides[1]


def _whole(value: object) -> int | None:
    """An integer in any notation; None if the value is something else."""
    if isinstance(value, str):
        text = value.strip()
        number = float(text) if len(text) <= 20 and text.isascii() and text.replace(".", "", 1).isdigit() else 0.5
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = value
    else:
        return None
    return int(number) if number == number // 1 and abs(number) < 1e15 else None
