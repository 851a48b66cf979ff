"""Folders on a disk or in an object store, with atomic writing of files."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from wsl.documents.arrow import load_pyarrow
from wsl.documents.guard import describe
from wsl.errors import RunError, UserError
from wsl.files import created_folder, is_left_over, replacing, writer_is_gone

_STORES = ("s3", "gs", "hdfs")
_WEB = ("http", "https")
_ADDRESS = re.compile(rf"(file|{'|'.join((*_STORES, *_WEB))}):/+(.*)", re.DOTALL)
_CHUNK = 1 << 24
_ATTEMPTS = 8  # in up to about a minute
_ANEW = ".anew"


def address_of(place: str | Path) -> str:
    """The address of a place as it was given; restores the second slash of a URL, which `Path` removes.

    >>> address_of(Path("s3://bucket/found")), address_of("file:///data"), address_of(Path("found"))
    ('s3://bucket/found', 'file:///data', 'found')
    """
    text = place if isinstance(place, str) else place.as_posix()
    match = _ADDRESS.fullmatch(text)
    if match is None:
        return str(place)
    return f"file:///{match[2]}" if match[1] == "file" else f"{match[1]}://{match[2]}"


def is_remote(place: str | Path) -> bool:
    """Whether a place is an address in an object store or of a web server rather than a local path.

    >>> is_remote("s3://bucket/found"), is_remote("found"), is_remote("file:///data")
    (True, False, False)
    """
    return address_of(place).startswith(tuple(f"{scheme}://" for scheme in (*_STORES, *_WEB)))


def local_path(place: str | Path) -> Path:
    """The local path of a place.

    >>> local_path("found").as_posix()
    'found'
    """
    address = address_of(place)
    return Path(url2pathname(urlsplit(address).path)) if address.startswith("file:") else Path(place)


class Storage:
    """A folder of files, given as a path or as an address ``s3://``, ``gs://``, ``hdfs://`` or ``file://``.

    Options of a store are given in the address in pyarrow's syntax:
    ``s3://bucket/found?region=eu-west-1&endpoint_override=localhost:9000&scheme=http``.

    Raises:
        UserError: pyarrow is not installed or does not know the address.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     storage = Storage(folder)
    ...     with storage.writing("a.txt") as temporary:
    ...         _ = temporary.write_text("whole", encoding="utf-8")
    ...     storage.names(), storage.read("a.txt")
    ({'a.txt'}, b'whole')
    """

    def __init__(self, place: str | Path) -> None:
        self.address = address_of(place)
        self.path = None if is_remote(place) else local_path(place)
        self._system: Any = None
        self._root = ""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_system": None}

    def __str__(self) -> str:
        return self.address.partition("?")[0] if self.path is None else str(self.path)

    def names(self) -> set[str]:
        """The names of the files directly in the folder; empty if the folder does not exist."""
        if self.path is not None:
            return {entry.name for entry in os.scandir(self.path)} if self.path.is_dir() else set()
        system, root = self._opened()
        selector = load_pyarrow("a store").fs.FileSelector(root, allow_not_found=True)
        return {found.base_name for found in system.get_file_info(selector) if found.is_file}

    def below(self) -> Iterator[str]:
        """The sorted relative paths of all files in the folder and below, without hidden ones.

        Raises:
            UserError: the folder does not exist in the store.
        """
        system, root = self._opened()
        try:
            found = system.get_file_info(load_pyarrow("a store").fs.FileSelector(root, recursive=True))
        except FileNotFoundError as error:
            raise UserError(f"{self}: no such folder in the store") from error
        names = sorted(one.path.removeprefix(root).lstrip("/") for one in found if one.is_file)
        yield from (name for name in names if not any(map(is_left_over, name.split("/"))))

    def exists(self, name: str) -> bool:
        """Whether the folder has a file with this name."""
        if self.path is not None:
            return (self.path / name).is_file()
        system, root = self._opened()
        return bool(system.get_file_info(f"{root}/{name}").is_file)

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is no file with this name.
        """
        if self.path is not None:
            return (self.path / name).read_bytes()
        with self.open(name) as file:
            return bytes(file.read())

    def open(self, name: str) -> Any:
        """Open a file for pyarrow's readers, for use in a with statement."""
        pyarrow = load_pyarrow(str(self))
        if self.path is not None:
            return pyarrow.OSFile(str(self.path / name), "rb")
        system, root = self._opened()
        return system.open_input_file(f"{root}/{name}")

    def modified(self, name: str) -> float:
        """The modification time of a file, in seconds by the clock of its disk or store."""
        if self.path is not None:
            return (self.path / name).stat().st_mtime
        system, root = self._opened()
        return float(system.get_file_info(f"{root}/{name}").mtime_ns or 0) / 1e9

    @contextlib.contextmanager
    def writing(self, name: str, *, anew: bool = False) -> Iterator[Path]:
        """Yield a temporary path; what is written there becomes the file `name` if the block ends without an error.

        `anew` says that a file `name` exists and is to be replaced, so that its existence is no reason to remove the
        temporary file (`is_left_behind`).
        """
        if self.path is not None:
            with replacing(self.path / name, mark=_ANEW if anew else "") as temporary:
                yield temporary
            return
        with tempfile.TemporaryDirectory(prefix="wsl-") as folder:
            temporary = Path(folder, name)
            yield temporary
            self._upload(temporary, name)

    @contextlib.contextmanager
    def creating(self, name: str) -> Iterator[Path]:
        """Like `writing`, but a file `name` that already exists, or appears meanwhile, is not replaced."""
        if self.path is None:
            with tempfile.TemporaryDirectory(prefix="wsl-") as folder:
                yield Path(folder, name)
                if not self.exists(name):
                    self._upload(Path(folder, name), name)
            return
        final = self.path / name
        # Processes of several machines may write here at the same time, and have the same process id.
        temporary = final.with_name(f".{final.stem}.{secrets.token_hex(8)}{final.suffix}")
        with created_folder(self.path):
            try:
                yield temporary
                _link(temporary, final)
            finally:
                temporary.unlink(missing_ok=True)

    def is_left_behind(self, temporary: str, name: str) -> bool:
        """Whether a temporary file for the file `name` is no longer needed.

        If the file `name` exists, it is not, unless it was to replace that file. Then its writer has to be known to
        have ended, by host and process id: the clocks of machines differ, so that the age of a file says nothing.
        """
        return self.exists(name) and (f"{_ANEW}." not in temporary or writer_is_gone(temporary))

    def remove(self, name: str) -> None:
        """Remove a file; a file that does not exist or is open elsewhere is not an error."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                (self.path / name).unlink()
            return
        system, root = self._opened()
        with contextlib.suppress(FileNotFoundError):
            system.delete_file(f"{root}/{name}")

    def _upload(self, temporary: Path, name: str) -> None:
        """Upload a file to the store; it appears after the last byte, because stores show only complete objects."""
        system, root = self._opened()
        try:
            # In a thread, which Ctrl-C does not stop: an unfinished stream publishes what it has when it is destroyed.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(_send, temporary, system, f"{root}/{name}").result()
        except OSError as error:
            raise RunError(f"{self}/{name} could not be written ({describe(error)})") from error

    def _opened(self) -> tuple[Any, str]:
        if self._system is None:
            self._system, self._root = file_system(self.address)
        return self._system, self._root


def _send(file: Path, system: Any, place: str) -> None:
    with file.open("rb") as opened:
        stream = system.open_output_stream(place)
        while chunk := opened.read(_CHUNK):
            stream.write(chunk)
        stream.close()


def _link(temporary: Path, final: Path) -> None:
    """Give a file its final name, unless a file of that name exists."""
    try:
        os.link(temporary, final)
    except OSError:
        # Either the final file exists, or ours was removed because another had appeared, or the file system has no
        # links; in the last case the later of two concurrent writers wins.
        if not final.exists():
            temporary.replace(final)


def file_system(address: str) -> tuple[Any, str]:
    """pyarrow's file system for an address, and the path in it; requests to S3 are retried with increasing delays.

    Raises:
        UserError: pyarrow does not know the address.

    >>> file_system("file:///data")[1]
    '/data'
    """
    pyarrow = load_pyarrow(address)
    try:
        system, root = pyarrow.fs.FileSystem.from_uri(address)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{address}: pyarrow cannot open this address ({describe(error)})") from error
    if isinstance(system, getattr(pyarrow.fs, "S3FileSystem", ())):
        system = _retrying(pyarrow.fs, system)
    return system, root.rstrip("/")


def _retrying(fs: Any, system: Any) -> Any:
    """The same S3 file system, which also uploads a small file in one request.

    An address has no options for either, and its default is to retry every 0.2 s for 6 s. The options that it does have
    are only known to the file system, which gives them to be pickled.
    """
    options = system.__reduce__()[1][0]
    if "allow_delayed_open" in options:
        options = {**options, "allow_delayed_open": True}
    return fs.S3FileSystem(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS))
