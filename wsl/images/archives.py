"""Images inside tar, zip and Parquet files, under paths that go on behind the file's: ``shard-000.tar/dogs/a.jpg``."""

from __future__ import annotations

import functools
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from wsl.errors import BadImageError, UserError
from wsl.files import is_left_over, leads_out
from wsl.images import parquet_members

SUFFIXES = (".tar", ".zip", parquet_members.SUFFIX)
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# Archives whose members' places are kept in memory.
_INDEXED = 256


class _Member(NamedTuple):
    """Where a file's bytes are in a tar; of a zip, whose library finds them, only the size counts."""

    start: int
    size: int


_Places = Mapping[str, _Member | parquet_members.Place]


def is_archive(path: str | Path) -> bool:
    """Whether a path is a file that holds others.

    Raises:
        UserError: a compressed tar, of which no member can be read without those before it.

    >>> is_archive("photos"), is_archive("no such file.tar")
    (False, False)
    """
    name = str(path).lower()
    if name.endswith(_COMPRESSED) and Path(path).is_file():
        raise UserError(f"{path} is a compressed archive, which cannot be read in parts: decompress it to a .tar first")
    return name.endswith(SUFFIXES) and Path(path).is_file()


def archive_members(archive: Path) -> tuple[str, ...]:
    """The names of the files in an archive, in its order, without those that macOS and NAS systems leave.

    Raises:
        UserError: not an archive, or cut off.
    """
    return tuple(_index(archive))


def archived(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into, and the name in it; None where no part of the path is an archive.

    >>> archived(Path("photos/a.jpg")) is None
    True
    """
    for parent in path.parents:
        if parent.name.lower().endswith(SUFFIXES) and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return None


def holding_file(path: Path) -> Path:
    """The file on the disk that an image is in: the image's own, or its archive.

    >>> holding_file(Path("photos/a.jpg")).name
    'a.jpg'
    """
    place = archived(path)
    return path if place is None else place[0]


def is_image_file(path: Path) -> bool:
    """Whether a file is there, on the disk or in an archive.

    >>> is_image_file(Path("no such file.jpg"))
    False
    """
    try:
        if path.is_file():
            return True
        place = archived(path)
    except OSError:  # a name that is too long for the disk
        return False
    return place is not None and place[1] in _index(place[0])


def tar_members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """The name, the first byte and the size of each regular file in a tar; its headers are read and nothing else.

    Names are relative, as tar unpacks them: those that are written from the root of a disk lose it.

    Raises:
        tarfile.TarError: not a tar, or it ends before its last file does.
    """
    end = 0
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined] # it would keep a record of each
            end = max(end, member.offset_data + member.size)
            if member.isreg() and not member.issparse():
                yield member.name.removeprefix("./").lstrip("/"), member.offset_data, member.size
    size = file.seek(0, 2)
    if size < end:
        raise tarfile.ReadError(f"it has {size} bytes of at least {end}")


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of a file in an archive.

    Raises:
        BadImageError: no such file in it, or the archive ends before it does.
        UserError: not an archive.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with zipfile.ZipFile(Path(folder, "a.zip"), "w") as file:
    ...         file.writestr("dog.txt", "woof")
    ...     read_member(Path(folder, "a.zip"), "dog.txt")
    b'woof'
    """
    member = _index(archive).get(name)
    if member is None:
        raise BadImageError(f"{archive / name}: no such file in {archive.name}")
    if isinstance(member, parquet_members.Place):
        return parquet_members.read_image_bytes(archive, name, member)
    try:
        if _suffix(archive) == ".zip":
            with zipfile.ZipFile(archive) as file, file.open(name) as opened:
                data = opened.read(member.size + 1)  # of a header that lies, no more
        else:
            with archive.open("rb") as raw:
                raw.seek(member.start)
                data = raw.read(member.size)
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise BadImageError(f"{archive / name}: cannot be read ({error})") from error
    if len(data) != member.size:
        raise BadImageError(f"{archive / name}: {archive.name} ends in the middle of it: fetch the archive again")
    return data


def _suffix(archive: Path) -> str:
    return archive.suffix.lower()


def _index(archive: Path) -> _Places:
    try:
        status = archive.stat()
    except OSError as error:
        raise UserError(f"{archive}: cannot be read ({error.strerror})") from error
    if _suffix(archive) == parquet_members.SUFFIX:
        return parquet_members.members(archive)
    return _indexed(archive, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=_INDEXED)
def _indexed(archive: Path, changed: int, size: int) -> Mapping[str, _Member]:
    """Where each file of an archive is; read again when the archive has changed."""
    try:
        found = dict(_of_zip(archive) if _suffix(archive) == ".zip" else _of_tar(archive))
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(f"{archive}: not an archive, or cut off ({error}): fetch it again") from error
    return {
        name: member
        for name, member in found.items()
        if not leads_out(name) and not any(map(is_left_over, name.split("/")))
    }


def _of_tar(archive: Path) -> Iterator[tuple[str, _Member]]:
    with archive.open("rb") as file:
        for name, start, size in tar_members(file):
            yield name, _Member(start, size)


def _of_zip(archive: Path) -> Iterator[tuple[str, _Member]]:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if not member.is_dir():
                yield member.filename, _Member(0, member.file_size)
