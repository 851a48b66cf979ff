"""Writing files so that a run killed at any moment leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

# What Windows refuses in a file name, and the path separators of every system.
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; it takes the place of `path` when the block ends without an error.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole", encoding="utf-8")
    ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
    'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: image writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, replacing an old one in a single step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def safe_name(name: str) -> str:
    """A file name that every system accepts and that stays in its folder.

    >>> safe_name("cat/dog: the *best*"), safe_name(".."), safe_name("NUL")
    ('cat_dog_ the _best_', '_..', '_NUL')
    """
    name = _UNSAFE.sub("_", name).rstrip(". ")[:200] or f"_{_UNSAFE.sub('_', name)}"
    return f"_{name}" if _RESERVED.match(name) else name
