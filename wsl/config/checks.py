"""Checks that settings share."""

from __future__ import annotations

from wsl.errors import UserError


def check(condition: bool, message: str) -> None:
    """Refuse a setting that is out of range.

    Raises:
        UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(message)


def check_batch_size(size: int | None) -> None:
    """Refuse an empty batch; None leaves the size to the device."""
    check(size is None or size >= 1, f"batch size is {size}, expected 1 or more, or None")
