"""Text files of bounded size, in UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wsl.documents.guard import reading
from wsl.errors import UserError

LARGEST = 2 << 30
"""Maximum size in bytes of a file that is read as a whole."""
_LONGEST_LINE = 64 << 20


def read_text(path: Path, expected: str, largest: int = LARGEST) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: it cannot be read, is larger than ``largest`` bytes, or is not UTF-8.

    >>> read_text(Path("lost.txt"), "a class a line")
    Traceback (most recent call last):
    wsl.errors.UserError: lost.txt: cannot be read (No such file or directory); expected a class a line
    """
    data = read_whole(path, expected, largest)
    with reading(path, expected):
        return data.decode("utf-8-sig")


def read_whole(path: Path, expected: str, largest: int = LARGEST) -> bytes:
    """The bytes of a file of bounded size.

    Raises:
        UserError: it cannot be read, or is larger than ``largest`` bytes.
    """
    with reading(path, expected), path.open("rb") as file:
        # A pipe or a device has no size, and may be endless.
        data = file.read(min(path.stat().st_size, largest) + 1)
        if len(data) <= largest and (more := file.read(largest + 1 - len(data))):
            data += more
    if len(data) > largest:
        raise UserError(f"{path}: larger than {_size(largest)}, expected {expected}: split it")
    return data


def text_lines(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file in UTF-8, except blank ones, with their numbers from 1; one is in memory at a time.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or has a line of more than 64 MiB; the message names the line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.txt")
    ...     _ = file.write_text("one\\n\\ntwo\\n", encoding="utf-8")
    ...     list(text_lines(file, "words"))
    [(1, 'one\\n'), (3, 'two\\n')]
    """
    with reading(path, expected), path.open("rb") as file:
        number = 0
        while line := file.readline(_LONGEST_LINE + 1):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise UserError(f"{path}:{number}: a line of more than {_size(_LONGEST_LINE)}, expected {expected}")
            with reading(f"{path}:{number}", expected):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, text


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
