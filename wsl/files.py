"""Names of files, and writing them so that a killed run leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from wsl.errors import UserError

# What Windows refuses in a file name, the path separators of every system, and what UTF-8 cannot write.
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` when the block ends without an error.

    The file has the permissions that the umask gives to new files, whatever its writer left.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole", encoding="utf-8")
    ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, since image writers choose their format by it, and a long name still fits.
    temporary = path.with_name(f".{cut(path.stem, 200)}.{os.getpid()}{cut(path.suffix, 30)}")
    try:
        yield temporary
        _publish(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(path: Path) -> None:
    """Give a private file, such as safetensors writes, the permissions that its folder and the umask give to new files.

    They are read off a new file: the umask itself can only be read by changing it, for all threads.
    """
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return
    example = path.with_name(f"{path.name}.mode")
    descriptor = os.open(example, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        path.chmod(stat.S_IMODE(os.fstat(descriptor).st_mode))
    finally:
        os.close(descriptor)
        example.unlink(missing_ok=True)


def check_folder(out: Path, purpose: str) -> None:
    """Check that a folder can be made where results are to be written.

    Raises:
        UserError: a file is in its place.

    >>> check_folder(Path("found"), "the results")
    """
    for path in (out, *out.parents):
        if path.exists():
            if not path.is_dir():
                raise UserError(f"{path} is a file: expected a folder for {purpose}")
            return


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, replacing an old one in a single step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


class UniqueNames:
    """File names for arbitrary texts: legal on every system, and no two that a file system takes for one.

    Characters that Windows refuses and lone surrogates become ``_``, dots and blanks at the end are dropped, and device
    names such as ``NUL`` get ``_`` in front. A name that differs from an earlier one only by case or composition, or
    not at all, gets a number: ``a~2``. It has at most ``max_bytes`` bytes in UTF-8, which leaves room for a suffix in
    the 255 bytes of common file systems. The same texts in the same order give the same names.

    >>> names = UniqueNames()
    >>> [names(text) for text in ("cat/dog: the *best*", "..", "NUL", "Cat", "cat")]
    ['cat_dog_ the _best_', '_', '_NUL', 'Cat', 'cat~2']
    """

    def __init__(self, max_bytes: int = 200) -> None:
        self.max_bytes = max_bytes
        self._uses: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        """The name for a text."""
        base = candidate = self._legal(text)
        key = caseless(base)
        while caseless(candidate) in self._uses:
            self._uses[key] += 1
            number = f"~{self._uses[key]}"
            candidate = cut(base, self.max_bytes - len(number)) + number
        self._uses[caseless(candidate)] = 1
        return candidate

    def _legal(self, text: str) -> str:
        name = cut(_UNSAFE.sub("_", text), self.max_bytes - 1).rstrip(". ")
        return f"_{name}" if not name or _RESERVED.match(name) else name


def is_left_over(name: str) -> bool:
    """Whether a file or folder is hidden, or one of those that macOS and NAS systems leave between others.

    >>> [name for name in ("._a.xml", "__MACOSX", "@eaDir", "a.xml") if is_left_over(name)]
    ['._a.xml', '__MACOSX', '@eaDir']
    """
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def caseless(name: str) -> str:
    """The key that names share if some file system takes them for one: Unicode's canonical caseless form.

    >>> caseless("CAFE\u0301") == caseless("café")
    True
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def cut(text: str, max_bytes: int) -> str:
    """As many characters from the start of a text as fit into a number of bytes in UTF-8.

    >>> cut("犬犬", 5)
    '犬'
    """
    return text.encode("utf-8", "surrogatepass")[:max_bytes].decode("utf-8", "ignore")
