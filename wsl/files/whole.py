"""Atomic writing of files: after a kill or a power cut, either the old or the new file exists."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import itertools
import os
import platform
import re
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from wsl.files.names import cut

_LITTER = re.compile(r"\..*\.wsl-([0-9a-f]{8})-([0-9]{1,10})(\.|$)", re.DOTALL)
# Age in seconds for files of other hosts, where it is not known whether a process still exists.
_OLD = 7 * 24 * 3600.0
# From this number of files on, syncing everything that the system has not yet written is faster than syncing each file.
_MANY = 100
_deferred = contextvars.ContextVar("deferred", default=False)
# Errors of file systems that cannot sync a file or a folder, such as network file systems and foreign mounts.
_UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM, errno.EBADF)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, mark: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces `path` if the block ends without an error.

    With ``durable`` the file is synced to disk before it gets its name, so that a power cut leaves the old or the new
    one; without it, an empty file may be left. The file gets the permissions of a new file under the umask, whatever
    its writer set. Missing folders are created, and removed again if the block raises an error. `mark` becomes part of
    the temporary name, before the suffix.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as temporary:
    ...         _ = temporary.write_text("whole", encoding="utf-8")
    ...     (Path(folder) / "a.txt").read_text(encoding="utf-8")
    'whole'
    """
    # The suffix stays at the end, because image writers choose their format by it.
    temporary = temporary_path(path, f"{mark}{path.suffix}")
    with created_folder(path.parent):
        try:
            yield temporary
            _publish(temporary)
            now = durable and not _deferred.get()
            if now:
                sync(temporary)
            temporary.replace(path)
            if now:
                sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def created_folder(folder: Path) -> Iterator[None]:
    """Create a folder and its missing parents; if the block raises an error, those that are empty are removed again.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     with contextlib.suppress(ValueError), created_folder(Path(root, "a", "b")):
    ...         raise ValueError("nothing to write")
    ...     list(Path(root).iterdir())
    []
    """
    missing = list(itertools.takewhile(lambda path: not path.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # not empty
            for path in missing:
                path.rmdir()
        raise


def temporary_path(path: Path, suffix: str) -> Path:
    """A temporary path beside a file, recognised by `remove_litter`; a long name is shortened.

    >>> temporary_path(Path("a.txt"), ".txt").name.startswith(".a.wsl-")
    True
    """
    return path.with_name(f".{cut(path.stem, 180)}.wsl-{_host()}-{os.getpid()}{cut(suffix, 30)}")


@contextlib.contextmanager
def synced_together(folder: Path) -> Iterator[None]:
    """Sync the files written below a folder once, at the end of the block, instead of each separately.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name, synced_together(Path(name)):
    ...     write_text(Path(name, "a.txt"), "whole")
    """
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)
    paths = list(folder.rglob("*"))
    if len(paths) > _MANY and sys.platform != "win32":
        os.sync()
        return
    for path in paths:
        sync_folder(path) if path.is_dir() else sync(path)


def sync(path: Path) -> None:
    """Wait until a file is written to disk.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     sync(Path(file.name)) if sys.platform != "win32" else None
    """
    _sync(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Wait until the entries of a folder are written to disk; Windows and some file systems cannot do this.

    >>> sync_folder(Path())
    """
    if sys.platform != "win32":
        _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    try:
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise


def _publish(path: Path) -> None:
    """Give a private file, as written by safetensors, the permissions of a new file in its folder.

    They are read from a newly created file, because the umask can only be read by changing it for all threads.
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


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, replacing an existing one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def remove_litter(folder: Path) -> None:
    """Remove the temporary files that killed processes of this host left in a folder and its subfolders.

    Those of other hosts are removed when they are a week old.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, f".a.wsl-{_host()}-{2**31 - 1}.txt").touch()
    ...     remove_litter(Path(root))
    ...     list(Path(root).iterdir())
    []
    """
    with contextlib.suppress(OSError):
        folders = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        for place in (str(folder), *folders):
            with contextlib.suppress(OSError):
                for entry in os.scandir(place):
                    if entry.name.startswith(".") and _is_litter(entry):
                        Path(entry.path).unlink(missing_ok=True)


def _is_litter(entry: os.DirEntry[str]) -> bool:
    match = _LITTER.match(entry.name)
    if match is None or not entry.is_file(follow_symlinks=False):
        return False
    if match[1] == _host() and sys.platform != "win32":
        return process_is_gone(int(match[2]))
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD


def writer_is_gone(name: str) -> bool:
    """Whether the process that wrote a temporary file is known to have ended; False for those of other hosts.

    >>> [writer_is_gone(f".a.wsl-{host}-{2**31 - 1}.txt") for host in (_host(), "00000000")]
    [True, False]
    """
    match = _LITTER.match(name)
    return match is not None and match[1] == _host() and process_is_gone(int(match[2]))


def process_is_gone(pid: int) -> bool:
    """Whether no process of this host has this id; False if that is not known, as on Windows.

    >>> process_is_gone(os.getpid())
    False
    """
    if sys.platform == "win32":  # on Windows the signal would end the process
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # a process of another user, or not a process id
        return False
    return False


def _host() -> str:
    return f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}"
