"""The two ways a command can fail, told apart by their exit codes."""

import difflib
import re
from collections.abc import Iterable, Sequence

# What ends a line or what a terminal obeys. Tabs are harmless.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    r"""A text on one line, without what a terminal obeys: names in files may hold line breaks and escape codes.

    >>> print(printable("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class _OneLine(Exception):
    """An error whose text is one line, whatever the files say that it tells of."""

    def __str__(self) -> str:
        return printable(super().__str__())


class UserError(_OneLine, ValueError):
    """What the user gave cannot be used: one line that says what was given, what was expected, what to do.

    Commands end with exit code 2.

    >>> str(UserError("threshold is 1.5, expected a fraction of the maximum in [0, 1): try 0.2"))
    'threshold is 1.5, expected a fraction of the maximum in [0, 1): try 0.2'
    """


class RunError(_OneLine, RuntimeError):
    """A run that was started correctly could not be finished (NaN loss, full disk); exit code 1."""


class OutOfMemoryError(RunError):
    """The memory of the device does not hold one image's pass through the network."""


class BadImageError(UserError):
    """One file is not a readable image; streams report it, count it and go on unless told to be strict."""


class DownloadError(UserError):
    """What was named could not be fetched from the network, or came damaged."""


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message, of many only the first.

    >>> listed(["cat", "dog", "cow"], most=2)
    'cat, dog and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another one; None where none is near.

    >>> nearest("dgo", ["cat", "dog"]), nearest("7", ["cat", "dog"])
    ('dog', None)
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return near[0] if near else None
