"""Reading of the images in a manifest: from files, tar members, objects in stores and web addresses."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wsl.documents.guard import describe
from wsl.errors import BadImageError
from wsl.formats.shards.storage import address_of, file_system, is_remote, local_path
from wsl.images.decode import read_bytes
from wsl.images.rows import ImageRow

_ATTEMPTS = 3
_LARGEST = 1 << 28


class UnfetchedError(BadImageError):
    """An image could not be fetched, so it is unknown whether it is valid."""


class Fetcher:
    """Reader of the bytes of images, which keeps file systems open between images. It can be shared by threads.

    >>> Fetcher(seconds=10)(ImageRow("no such.jpg", "a"))
    Traceback (most recent call last):
    wsl.formats.shards.fetch.UnfetchedError: no such.jpg: no such file...
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._systems: dict[tuple[str, str, str], Any] = {}

    def __call__(self, row: ImageRow) -> bytes:
        """The bytes of one image.

        Raises:
            UnfetchedError: it cannot be read; remote images are tried several times.
            BadImageError: it is too large or incomplete.
        """
        place = row.file or row.path
        if not is_remote(place):
            return self._local(row, place)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._remote(row, address_of(place))
            except FileNotFoundError as error:
                raise UnfetchedError(f"{row.path}: no such object") from error
            except OSError as error:
                if attempt == _ATTEMPTS:
                    raise UnfetchedError(f"{row.path}: cannot be fetched ({describe(error)})") from error
        raise AssertionError("unreachable")

    def _local(self, row: ImageRow, place: str) -> bytes:
        path = local_path(place)
        if row.offset is None:
            return _contents(path)
        try:
            with path.open("rb") as file:
                file.seek(row.offset)
                return _whole(row, file.read(row.size))
        except OSError as error:
            raise UnfetchedError(f"{row.path}: {path} cannot be read ({error.strerror})") from error

    def _remote(self, row: ImageRow, address: str) -> bytes:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https"):
            return self._web(row, address)
        system = self._system(address)
        path = parts.netloc + parts.path if parts.scheme != "hdfs" else parts.path
        with system.open_input_file(path) as file:
            if row.offset is not None:
                return _whole(row, bytes(file.read_at(row.size, row.offset)))
            _check_size(row, file.size())
            return bytes(file.read())

    def _system(self, address: str) -> Any:
        parts = urlsplit(address)
        key = parts.scheme, parts.netloc, parts.query
        if key not in self._systems:
            self._systems[key] = file_system(f"{parts.scheme}://{parts.netloc}/?{parts.query}".rstrip("?"))[0]
        return self._systems[key]

    def _web(self, row: ImageRow, address: str) -> bytes:
        headers = {} if row.offset is None else {"Range": f"bytes={row.offset}-{row.offset + (row.size or 1) - 1}"}
        request = urllib.request.Request(address, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as answer:
                data = bytes(answer.read(_LARGEST + 1))
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise UnfetchedError(f"{row.path}: the server answers {error.code} {error.reason}") from error
            raise
        if row.offset is None:
            _check_size(row, len(data))
            return data
        return _whole(row, data)


def _contents(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except BadImageError as error:
        raise error if path.is_file() else UnfetchedError(str(error)) from None


def _check_size(row: ImageRow, size: int) -> None:
    if size > _LARGEST:
        raise BadImageError(f"{row.path}: more than {_LARGEST >> 20} MiB, expected an image")


def _whole(row: ImageRow, data: bytes) -> bytes:
    if len(data) != row.size:
        raise BadImageError(f"{row.path}: {row.file} ends early, expected {row.size} bytes from offset {row.offset}")
    return data
