"""Images in the rows of Parquet files, as in Hugging Face data sets: a column of structs (bytes, path)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsl.documents.arrow import load_pyarrow
from wsl.documents.guard import describe
from wsl.errors import BadImageError, UserError
from wsl.files import leads_out

SUFFIX = ".parquet"
_COLUMNS = ("image", "img", "picture", "photo", "jpg", "png")
# Number of row groups kept for all threads; images are mostly read in order.
_KEPT = 2
_reading = threading.Lock()


class Place(NamedTuple):
    """The position of an image: the row group, and the row in it."""

    group: int
    row: int


def schema_of(file: Path) -> Any:
    """The schema of a Parquet file, cached until the file changes.

    Raises:
        UserError: pyarrow is not installed, or the file is not Parquet.
    """
    pyarrow = load_pyarrow(str(file))
    try:
        status = file.stat()
        return _schema(file, status.st_mtime_ns, status.st_size)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{file}: not readable as Parquet ({describe(error)})") from error


@functools.lru_cache(maxsize=256)
def _schema(file: Path, changed: int, size: int) -> Any:
    return load_pyarrow(str(file)).parquet.read_schema(file)


def image_column(file: Path) -> str:
    """The column of images: bytes, or structs with ``bytes``.

    Raises:
        UserError: pyarrow is not installed, or the file is not Parquet or has no such column.
    """
    schema, types = schema_of(file), load_pyarrow(str(file)).types

    def holds_bytes(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    found = [
        field.name
        for field in schema
        if holds_bytes(field.type)
        or (types.is_struct(field.type) and any(one.name == "bytes" and holds_bytes(one.type) for one in field.type))
    ]
    named = [name for name in _COLUMNS if name in found] or found
    if not named:
        raise UserError(
            f"{file}: has the columns {', '.join(schema.names[:20])}, expected one of images, which holds bytes, or "
            "structs of bytes and path"
        )
    return str(named[0])


def has_images(file: Path) -> bool:
    """Whether a file is Parquet with a column of images.

    >>> has_images(Path("no such file.parquet"))
    False
    """
    try:
        return bool(image_column(file))
    except UserError:
        return False


def members(file: Path) -> dict[str, Place]:
    """The positions of a file's images by name: their ``path`` if these are distinct, else the row number.

    Raises:
        UserError: as for `image_column`.
    """
    status = file.stat()
    return dict(_indexed(file, status.st_mtime_ns, status.st_size))


def read_image_bytes(file: Path, name: str, place: Place) -> bytes:
    """The bytes of one image.

    Raises:
        BadImageError: the row holds no image, or the file cannot be read.
    """
    status = file.stat()
    try:
        with _reading:  # one thread decodes a row group, and the others find it in the cache
            images = _group(file, place.group, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise BadImageError(f"{file / name}: cannot be read ({describe(error)})") from error
    value = images[place.row].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if not data:
        raise BadImageError(f"{file / name}: the row holds no bytes of an image")
    return bytes(data)


@functools.lru_cache(maxsize=256)
def _indexed(file: Path, changed: int, size: int) -> Mapping[str, Place]:
    pyarrow = load_pyarrow(str(file))
    column = image_column(file)
    places: list[Place] = []
    names: list[str] = []
    with pyarrow.parquet.ParquetFile(file) as opened:
        for group in range(opened.num_row_groups):
            rows = opened.metadata.row_group(group).num_rows
            places += [Place(group, row) for row in range(rows)]
            names += _paths(opened, group, column, rows)
    given = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    if any(map(leads_out, given)) or len(set(given)) < len(given):
        given = [f"{number:08d}" for number in range(len(places))]
    return dict(zip(given, places, strict=True))


def _paths(opened: Any, group: int, column: str, rows: int) -> Iterator[str]:
    """The paths of the images in a row group."""
    pyarrow = load_pyarrow("Parquet")
    kind = opened.schema_arrow.field(column).type
    if not pyarrow.types.is_struct(kind) or "path" not in [one.name for one in kind]:
        return iter([""] * rows)
    table = opened.read_row_group(group, columns=[f"{column}.path"])
    return (str(row["path"] or "") if row else "" for row in table.column(column).to_pylist())


@functools.lru_cache(maxsize=_KEPT)
def _group(file: Path, group: int, changed: int, size: int) -> Any:
    pyarrow = load_pyarrow(str(file))
    column = image_column(file)
    with pyarrow.parquet.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=[column]).column(column)
