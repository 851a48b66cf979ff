"""The exceptions with which a command fails, which determine its exit code."""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Line breaks and control characters of terminals. Tabs are harmless.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def printable(text: str) -> str:
    r"""A text on one line, with control characters escaped: names in files may contain line breaks and escape codes.

    >>> print(printable("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class _OneLine(Exception):
    """An error whose text is one line, even if it quotes the contents of files."""

    def __str__(self) -> str:
        return printable(super().__str__())


class UserError(_OneLine, ValueError):
    """Invalid user input: one line that says what was given, what was expected and what to do.

    Commands end with exit code 2.

    >>> str(UserError("threshold is 1.5, expected a fraction of the maximum in [0, 1): try 0.2"))
    'threshold is 1.5, expected a fraction of the maximum in [0, 1): try 0.2'
    """


class RunError(_OneLine, RuntimeError):
    """A run that was started correctly could not be finished (NaN loss, full disk); exit code 1."""


class OutOfMemoryError(RunError):
    """The device has too little memory for a forward pass of a single image."""


class BadImageError(UserError):
    """One file is not a readable image; streams report it, count it and continue unless they are strict."""


class DownloadError(UserError):
    """A download failed, or the downloaded file is damaged."""


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names for a message; if there are many, only the first.

    >>> listed(["cat", "dog", "cow"], most=2)
    'cat, dog and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def quoted(path: str | Path) -> str:
    """A path as an argument of a command, for a message.

    >>> quoted("runs/gap"), quoted("runs/kmax(k=0.2)")
    ('runs/gap', "'runs/kmax(k=0.2)'")
    """
    return shlex.quote(Path(path).as_posix())


def counted(number: int, one: str, several: str = "") -> str:
    """A number of things for a message; `several` is the plural if it is irregular.

    >>> counted(1, "image"), counted(2, "image"), counted(0, "box", "boxes")
    ('1 image', '2 images', '0 boxes')
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, the error from which or during which it was raised, and so on.

    >>> try:
    ...     raise ValueError from KeyError()
    ... except ValueError as error:
    ...     [type(one).__name__ for one in causes(error)]
    ['ValueError', 'KeyError']
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if the message is empty.

    >>> first_line(OSError("no route\\nat line 3")), first_line(ValueError())
    ('no route', 'ValueError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to another one, by letters and digits alone; None if none is similar.

    >>> nearest("dgo", ["cat", "dog"]), nearest("7", ["cat", "dog"]), nearest("Grad-CAM++", ["gradcam", "gradcampp"])
    ('dog', None, 'gradcampp')
    """
    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(_folded(one), one)
    near = difflib.get_close_matches(_folded(name), list(folded), n=1)
    return folded[near[0]] if near else None


def _folded(name: str) -> str:
    """A name without case and punctuation, a plus sign as in the names of methods."""
    return "".join(filter(str.isalnum, name.casefold().replace("+", "p"))) or name
