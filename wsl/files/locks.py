"""Locks that allow one run at a time in a folder, with a message about who holds them."""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.errors import UserError
from wsl.files.whole import process_is_gone, remove_litter, temporary_path

log = logging.getLogger("wsl")

LOCK = ".wsl-lock"
# The folders that this process has locked, by real path, and the thread of each. The lock file alone cannot distinguish
# nested use from a killed process with the same id, which is common in containers.
_HELD: dict[str, int] = {}


def check_folder(out: Path, purpose: str) -> None:
    """Check that a folder for results can be created.

    Raises:
        UserError: a file is in the way.

    >>> check_folder(Path("found"), "the results")
    """
    for path in (out, *out.parents):
        if path.exists():
            if not path.is_dir():
                raise UserError(f"{path} is a file: expected a folder for {purpose}")
            return


@contextlib.contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Prevent other runs from writing to a folder for the duration of the block; the folder is created if missing.

    The lock is the file ``.wsl-lock`` with its holder, the time, the host and the process id. A lock left by a killed
    process of this host is taken over, except on Windows, where it is not known whether a process still exists. A
    thread may lock the same folder again inside the block. A folder that was created for the lock and is empty at the
    end is removed. Unfinished files of killed processes in it and its subfolders are removed first.

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
        remove_litter(folder)
        yield
    finally:
        if _HELD.get(key) == threading.get_ident():
            del _HELD[key]
        # An error or Ctrl-C may have occurred between any two lines above; the lock of another run has other contents.
        with contextlib.suppress(OSError):
            if lock.read_bytes() == ours:
                lock.unlink()
        with contextlib.suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _holder(command: str) -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # in containers, a user id without a name
        user = "unknown"
    return {
        "who": f"{user} ({command})",
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "host": platform.node(),
        "pid": os.getpid(),
        "thread": threading.get_ident(),  # so that two threads within the same second have different contents
    }


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Prevent other processes of this host from reading the lock: two could take over the same stale lock.

    Windows does not need this, because stale locks are not taken over there.
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
        _put(lock, ours)
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
        _put(lock, ours)


def _put(lock: Path, ours: bytes) -> None:
    """Create the lock with its contents atomically: an empty one, after a kill or on a full disk, would have no holder.

    Raises:
        FileExistsError: there already is a lock.
    """
    temporary = temporary_path(lock, f".{threading.get_ident()}")
    try:
        temporary.write_bytes(ours)
        try:
            os.link(temporary, lock)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            _put_in_two_steps(lock, ours)
    finally:
        temporary.unlink(missing_ok=True)


def _put_in_two_steps(lock: Path, ours: bytes) -> None:
    descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(ours)
    except BaseException:
        lock.unlink()
        raise


def _read_holder(lock: Path) -> Mapping[str, Any]:
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # it is being written, or was not written by this function
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_stale(holder: Mapping[str, Any], key: str) -> bool:
    """Whether the process of a lock is known to have ended."""
    pid = holder.get("pid")
    if sys.platform == "win32" or holder.get("host") != platform.node() or type(pid) is not int or pid < 1:
        return False
    if pid == os.getpid():
        return key not in _HELD  # otherwise another thread of this process holds it
    return process_is_gone(pid)
