"""The rows of a manifest, from whatever names images: files, folders, globs, stores, lists, tables, tars, data sets."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.config import LocalizeConfig
from wsl.data import read_samples
from wsl.documents.tables import table_header, table_rows
from wsl.errors import UserError
from wsl.files import is_left_over
from wsl.formats.shards.manifest import read_rows
from wsl.formats.shards.storage import Storage, address_of, is_remote
from wsl.images.archives import tar_members
from wsl.images.rows import ImageRow
from wsl.images.sources import is_image_name, stream_images

LISTS = (".txt", ".csv", ".parquet")
"""Suffixes of files that name images; Parquet may also hold them."""


def image_rows(config: LocalizeConfig) -> Iterator[ImageRow]:
    """The images of a configuration, as they are found. Of several sources an image that is named twice comes once.

    Raises:
        UserError: a source that is not there, holds no image, or cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "list.txt").write_text("a.jpg\\nb/c.png\\n", encoding="utf-8")
    ...     config = LocalizeConfig(sources=(f"{folder}/list.txt",), weights="resnet50", out=Path("found"))
    ...     [row.id for row in image_rows(config)]
    ['a', 'c']
    """
    if config.data is not None:
        for sample in read_samples(config.data, config.split).samples:
            yield ImageRow(_text(sample.path), sample.id, sample.labels)
        return
    seen: set[bytes] = set()
    for source in config.sources:
        for row in _rows_of(source):
            if len(config.sources) > 1:
                key = os.path.abspath(row.path) if not is_remote(row.path) else row.path  # noqa: PTH100
                digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
                if digest in seen:
                    continue
                seen.add(digest)
            yield row


def made_from(config: LocalizeConfig) -> Mapping[str, Any]:
    """How the images were named, to be told apart from other ones.

    >>> made_from(LocalizeConfig(sources=("photos",), weights="resnet50", out=Path("found")))
    {'sources': ['photos']}
    """
    if config.data is not None:
        kept = {} if config.data.val_fraction is None else {"kept": [config.data.val_fraction, config.data.split_seed]}
        return {"data": config.data.data.as_posix(), "split": config.split, **kept}
    # The options of a store say how it is reached, and may hold what is nobody's business.
    return {"sources": [one.partition("?")[0] if is_remote(one) else one for one in config.sources]}


def _rows_of(source: str) -> Iterator[ImageRow]:
    suffix = Path(source).suffix.lower()
    if suffix == ".tar":
        yield from _in_tar(source)
    elif suffix in LISTS and not is_remote(source):
        yield from _listed(Path(source), suffix)
    elif not is_remote(source):
        yield from (_row(_text(path)) for path in stream_images(source))
    else:
        yield from _remote(source)


def _remote(source: str) -> Iterator[ImageRow]:
    """An image in a store, or those of a folder; options of the store stand in ``file`` and not in the path."""
    address, question, options = address_of(source).partition("?")
    if is_image_name(address.rpartition("/")[2]):
        names = [address]
    else:
        below = (name for name in Storage(source).below() if is_image_name(name.rpartition("/")[2]))
        names = [f"{address.rstrip('/')}/{name}" for name in below]
    if not names:
        raise UserError(f"{address}: no image in it")
    for name in names:
        yield _row(name)._replace(file=f"{name}{question}{options}" if options else None)


def _listed(file: Path, suffix: str) -> Iterator[ImageRow]:
    """The rows of a list; relative paths are relative to its folder."""
    try:
        if suffix == ".txt":
            with file.open(encoding="utf-8-sig") as lines:
                yield from (_row(_beside(file, line.strip())) for line in lines if line.strip())
        elif suffix == ".csv":
            yield from _in_table(file)
        else:
            yield from (row._replace(path=_beside(file, row.path)) for row in read_rows(file))
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file, expected a list of images") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); expected a list of images in UTF-8") from error


def _in_table(file: Path) -> Iterator[ImageRow]:
    expected = "a table of images, with a column path or url"
    names = table_header(file, expected)
    column = next((name for name in ("path", "url") if name in names), None)
    if column is None:
        raise UserError(f"{file}: has the columns {', '.join(names[:20])}, expected path or url")
    for line, cells in table_rows(file, expected):
        if not cells[column]:
            raise UserError(f"{file}:{line}: has no {column}, expected one in each row")
        row = _row(_beside(file, cells[column]))
        yield row._replace(id=cells["id"]) if cells.get("id") else row


def _in_tar(source: str) -> Iterator[ImageRow]:
    """The images in a tar, each with the bytes that it takes there; the tar's headers are read and no image."""
    address = address_of(source)
    name = address.partition("?")[0]
    try:
        empty = True
        with _open(address) as file:
            for member, start, size in tar_members(file):
                *folders, last = member.split("/")
                if is_image_name(last) and not any(map(is_left_over, folders)):
                    empty = False
                    yield ImageRow(f"{name}/{member}", Path(member).stem, file=address, offset=start, size=size)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file, expected a tar of images") from error
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"{name}: ends early, or is no tar ({error}): fetch it again") from error
    if empty:
        raise UserError(f"{name}: no image in it")


def _open(address: str) -> Any:
    folder, _, name = address.partition("?")[0].rpartition("/")
    if not is_remote(address):
        return Storage(address).path.open("rb")  # type: ignore[union-attr] # local ones have a path
    options = address.partition("?")[2]
    return Storage(f"{folder}?{options}" if options else folder).open(name)


def _row(path: str) -> ImageRow:
    return ImageRow(path, Path(path.partition("?")[0] if is_remote(path) else path).stem)


def _beside(file: Path, name: str) -> str:
    return address_of(name) if is_remote(name) else (file.parent / name).as_posix()


def _text(path: str | Path) -> str:
    return Path(path).as_posix()
