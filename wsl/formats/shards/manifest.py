"""The manifest of a run: one row per image, in row groups that are the shards."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsl.documents.arrow import load_pyarrow
from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.formats.shards.storage import Storage
from wsl.images.parquet_members import has_images
from wsl.images.rows import ImageRow
from wsl.images.sources import images_in

MANIFEST = "manifest.parquet"
_KEY = b"wsl-manifest"
_COLUMNS = ("path", "id", "labels", "file", "offset", "size")


def write_manifest(rows: Iterable[ImageRow], file: Path, *, shard_size: int, made_from: Mapping[str, Any]) -> None:
    """Write rows to a manifest, `shard_size` per shard; at most one shard is held in memory.

    The footer contains a digest of the rows, by which manifests are compared.

    Raises:
        UserError: there are no rows, or a name is not Unicode.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = [ImageRow(f"{name}.jpg", name) for name in "abc"]
    ...     write_manifest(rows, Path(folder, MANIFEST), shard_size=2, made_from={"sources": ["photos"]})
    ...     manifest = Manifest.read(Storage(folder))
    ...     manifest.shards, manifest.rows, [row.id for row in manifest.shard(1)]
    (2, 3, ['c'])
    """
    pyarrow = load_pyarrow("a manifest")
    schema = _schema(pyarrow)
    digest, count, remaining = hashlib.sha256(f"{shard_size} a shard".encode()), 0, iter(rows)
    # Statistics of paths would make the footer, which every worker reads, several times longer.
    options = {"compression": "zstd", "write_statistics": False}
    with pyarrow.parquet.ParquetWriter(file, schema, **options) as writer:
        while some := list(itertools.islice(remaining, shard_size)):
            try:
                for row in some:
                    digest.update(json.dumps(row, ensure_ascii=False).encode())
            except UnicodeEncodeError as error:
                raise UserError(
                    f"{row.path!r} is not UTF-8, and cannot be stored in Parquet: rename the file, or run without "
                    "--engine"
                ) from error
            columns = zip(*some, strict=True)
            arrays = [pyarrow.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), row_group_size=shard_size)
            count += len(some)
        if not count:
            raise UserError("no image to localize, expected at least one")
        known = {"rows": count, "shard_size": shard_size, "sha256": digest.hexdigest(), "made_from": dict(made_from)}
        writer.add_key_value_metadata({_KEY: json.dumps(known)})


@dataclass(frozen=True)
class Manifest:
    """A manifest: its metadata, and its rows by shard.

    ``sha256`` identifies the images and their division into shards; ``made_from`` records how they were given.
    ``footer`` is Parquet's own list of the shards, which is read only once.
    """

    storage: Storage
    shards: int
    rows: int
    sha256: str
    made_from: Mapping[str, Any]
    footer: Any = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Callable[[Storage], Manifest], tuple[Storage]]:
        return Manifest.read, (self.storage,)  # read again, because the footer of many shards is long

    @classmethod
    def read(cls, storage: Storage) -> Manifest:
        """Read the manifest in a folder.

        Raises:
            UserError: there is none, or the file is not a manifest.
        """
        pyarrow = load_pyarrow("a manifest")
        place = f"{storage}/{MANIFEST}"
        try:
            with storage.open(MANIFEST) as file:
                metadata = pyarrow.parquet.read_metadata(file)
            known = json.loads((metadata.metadata or {})[_KEY])
            _check_columns(metadata.schema.to_arrow_schema().names, place)
            sizes = metadata.num_row_groups, metadata.num_rows
            return cls(storage, *sizes, known["sha256"], known["made_from"], metadata)
        except FileNotFoundError as error:
            raise UserError(f"{place}: no such manifest: name the images from which to make it") from error
        except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{place} is not a manifest of wsl-localize ({describe(error)}): remove it, "
                "and name the images from which to make a new one"
            ) from error

    def size(self, number: int) -> int:
        """The number of images in one shard."""
        return int(self.footer.row_group(number).num_rows)

    def shard(self, number: int) -> list[ImageRow]:
        """The rows of one shard."""
        pyarrow = load_pyarrow("a manifest")
        with (
            self.storage.open(MANIFEST) as file,
            pyarrow.parquet.ParquetFile(file, metadata=self.footer) as opened,
        ):
            table = opened.read_row_group(number, columns=list(_COLUMNS))
        return [_row(record) for record in table.to_pylist()]


def read_rows(file: Path) -> Iterator[ImageRow]:
    """Read a list of images in Parquet, with the columns ``path`` (or ``url``), ``id`` and ``labels``.

    Raises:
        UserError: the file is not Parquet, or has neither ``path``, ``url`` nor a column of images.
    """
    pyarrow = load_pyarrow(str(file))
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            path = next((name for name in ("path", "url") if name in names), None)
            if path is None and has_images(file):
                yield from (ImageRow(name, Path(name).stem) for name in images_in(file))
                return
            if path is None:
                raise UserError(
                    f"{file}: has the columns {', '.join(names[:20])}, expected path or url, or a column of images"
                )
            columns = [path, *(name for name in (*_COLUMNS[1:], "label") if name in names)]
            for batch in opened.iter_batches(columns=columns):
                for record in batch.to_pylist():
                    yield _row({**record, "path": record[path]})
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"{file}: not readable as Parquet ({describe(error)})"
        raise UserError(f"{problem}; expected a column path or url") from error


def _row(record: Mapping[str, Any]) -> ImageRow:
    path, labels = str(record["path"]), record.get("labels")
    if labels is None and record.get("label") is not None:
        labels = [record["label"]]
    return ImageRow(
        path=path,
        id=str(record.get("id") or Path(path).stem),
        labels=None if labels is None else tuple(map(str, labels)),
        file=record.get("file"),
        offset=record.get("offset"),
        size=record.get("size"),
    )


def _schema(pyarrow: Any) -> Any:
    text, number = pyarrow.string(), pyarrow.int64()
    types = (text, text, pyarrow.list_(text), text, number, number)
    return pyarrow.schema(list(zip(_COLUMNS, types, strict=True)))


def _check_columns(names: list[str], place: str) -> None:
    if not set(_COLUMNS) <= set(names):
        raise UserError(f"{place}: has the columns {', '.join(names[:20])}, expected {', '.join(_COLUMNS)}")
