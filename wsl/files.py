"""Names of files, and writing them: whole ones even after a kill, and into a folder that no other run writes to."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import platform
import re
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.errors import UserError

log = logging.getLogger("wsl")

LOCK = ".wsl-lock"
# The folders that this process has locked, by real path, and the thread of each. The lock file alone cannot tell a
# nested use from a process of the same number that was killed, which is common in containers.
_HELD: dict[str, int] = {}

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


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Let no other run write into a folder for the length of the block; the folder is made where it is missing.

    The lock is the file ``.wsl-lock`` with who holds it, since when, and the host and number of the process. One that
    a killed process of this host left behind is taken over, except on Windows, where nothing tells whether a process
    still lives. A thread may lock the same folder again inside the block. A folder that was made for the lock and is
    empty at the end is removed again.

    Raises:
        UserError: another run holds the lock.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder), "wsl-localize"):
    ...     [path.name for path in Path(folder).iterdir()]
    ['.wsl-lock']
    """
    key = os.path.normcase(os.path.realpath(folder))
    if _HELD.get(key) == threading.get_ident():
        yield
        return
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock, ours = folder / LOCK, json.dumps(_holder(command)).encode("ascii")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _acquire(lock, ours, key)
            _HELD[key] = threading.get_ident()
        yield
    finally:
        if _HELD.get(key) == threading.get_ident():
            del _HELD[key]
        # An error or Ctrl-C may have come between any two lines above; another run's lock has another text.
        with contextlib.suppress(OSError):
            if lock.read_bytes() == ours:
                lock.unlink()
        with contextlib.suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _holder(command: str) -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a number without a name, in containers
        user = "unknown"
    return {
        "who": f"{user} ({command})",
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "host": platform.node(),
        "pid": os.getpid(),
        "thread": threading.get_ident(),  # two threads that try within a second have different texts
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let no other process of this host look at the lock meanwhile: two could take over one stale lock.

    Windows needs none of this, since stale locks are not taken over there.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot lock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _acquire(lock: Path, ours: bytes, key: str) -> None:
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        holder = _read_holder(lock)
        if not _is_stale(holder, key):
            told = (str(holder.get(name, "unknown")) for name in ("who", "since", "host", "pid"))
            who, since, host, pid = (" ".join(text.split())[:80] for text in told)
            raise UserError(
                f"{lock.parent} is being written to by {who} since {since} (host {host}, process {pid}): wait until "
                f"that run ends or choose another --out; if it no longer exists, remove {lock}"
            ) from None
        log.info("%s: took over the lock of process %s, which no longer exists", lock.parent, holder["pid"])
        lock.unlink()
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(ours)
    except BaseException:  # a full disk, Ctrl-C: an empty lock would be nobody's
        lock.unlink()
        raise


def _read_holder(lock: Path) -> Mapping[str, Any]:
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # it is being written, or somebody else's
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_stale(holder: Mapping[str, Any], key: str) -> bool:
    """Whether the process of a lock is known to be gone."""
    pid = holder.get("pid")
    if sys.platform == "win32" or holder.get("host") != platform.node() or type(pid) is not int or pid < 1:
        return False
    if pid == os.getpid():
        return key not in _HELD  # else another thread of this process holds it
    try:
        os.kill(pid, 0)  # on Windows this would end the process
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # somebody else's process, or no number of one
        return False
    return False


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
