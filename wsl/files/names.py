"""File names that are valid on every system, and names of files created by operating systems."""

from __future__ import annotations

import re
import unicodedata

# Characters that Windows refuses in file names, path separators of all systems, and what UTF-8 cannot encode.
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.IGNORECASE)


class UniqueNames:
    """File names for arbitrary texts: valid on every system, and distinct on every file system.

    Characters that Windows refuses and lone surrogates become ``_``, trailing dots and blanks are removed, and device
    names such as ``NUL`` are prefixed with ``_``. A name that equals an earlier one, or differs only by case or Unicode
    composition, gets a number: ``a~2``. Names have at most ``max_bytes`` bytes in UTF-8, which leaves room for a suffix
    in the 255 bytes of common file systems. The same texts in the same order give the same names.

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
    """Whether a file or folder is hidden, or a metadata file of macOS or a NAS system.

    >>> [name for name in ("._a.xml", "__MACOSX", "@eaDir", "a.xml") if is_left_over(name)]
    ['._a.xml', '__MACOSX', '@eaDir']
    """
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def leads_out(name: str) -> bool:
    """Whether a relative name in a document leads outside its folder, by POSIX or Windows rules.

    >>> [name for name in ("a/b.jpg", "a/../../b.jpg", "/b.jpg", "\\\\host\\b.jpg", "C:b.jpg") if not leads_out(name)]
    ['a/b.jpg']
    """
    parts = re.split(r"[\\/]", name)
    return parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", name) is not None or "\0" in name


def caseless(name: str) -> str:
    """A key that is equal for names that some file systems treat as the same: Unicode's canonical caseless form.

    >>> caseless("CAFE\u0301") == caseless("café")
    True
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def cut(text: str, max_bytes: int) -> str:
    """The longest beginning of a text that fits into ``max_bytes`` bytes of UTF-8.

    >>> cut("犬犬", 5)
    '犬'
    """
    return text.encode("utf-8", "surrogatepass")[:max_bytes].decode("utf-8", "ignore")
