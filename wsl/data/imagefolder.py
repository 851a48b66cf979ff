"""Data sets in Hugging Face's imagefolder layout: images beside a table of metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsl.data.records import Row, classes_of, row_of, sample_of
from wsl.data.splits import find_split
from wsl.documents import guarded, json_lines
from wsl.documents.tables import table_rows
from wsl.errors import UserError
from wsl.images.sources import inside, require_files
from wsl.samples import SampleSet

_TABLES = ("metadata.csv", "metadata.jsonl")
_EXPECTED = "a row for each image, with file_name and label, labels or objects"


def metadata_files(root: Path) -> dict[str, Path]:
    """The tables of metadata in a folder and in its subfolders, by split; the folder's own is ``all``.

    >>> metadata_files(Path("no such folder"))
    {}
    """
    if not root.is_dir():
        return {}
    found = {}
    for folder in (root, *sorted(path for pattern in ("*", "data/*") for path in root.glob(pattern) if path.is_dir())):
        table = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
        if table is not None:
            found["all" if folder == root else folder.name] = table
    return found


@guarded("Hugging Face's imagefolder")
def read_imagefolder(root: str | Path, split: str | None) -> SampleSet:
    """The images, labels and boxes of one split of an imagefolder with ``metadata.csv`` or ``metadata.jsonl``.

    ``file_name`` is an image's path below the table's folder. ``label`` (or ``class``) is its class, ``labels`` (or
    ``tags``, ``classes``) a list of classes, in CSV separated by ``;`` or ``|``; numbers count as names. ``objects``
    has boxes, ``{"bbox": [[x, y, width, height], …], "categories": [class, …]}``, whose classes are the labels if no
    column gives any. The classes are all names in the tables of all splits, sorted.

    Args:
        root: The folder.
        split: A folder with a table (``train``; ``val`` also finds ``validation``), or, if there is one table for all,
            the folder with which ``file_name`` starts; None or ``all`` takes the table in ``root``.

    Raises:
        UserError: a table is missing or malformed (the message names the line); there is no such split; an image is
            missing or listed twice.

    >>> read_imagefolder("lost", "train")
    Traceback (most recent call last):
    wsl.errors.UserError: lost: no metadata.csv or metadata.jsonl in it or in its folders
    """
    root = Path(root)
    tables = metadata_files(root)
    if not tables:
        raise UserError(f"{root}: no {' or '.join(_TABLES)} in it or in its folders")
    rows = {name: list(_rows(table)) for name, table in tables.items()}
    if "all" in rows:
        for row in rows["all"]:
            parts = row.path.relative_to(root).parts
            if len(parts) > 1:
                rows.setdefault(parts[0], []).append(row)
    wanted = find_split(split, rows, root)
    classes = classes_of(row.labels for some in rows.values() for row in some)
    if not classes:
        raise UserError(f"{next(iter(tables.values()))}: no row has a label; expected {_EXPECTED}")
    paths = [row.path for row in rows[wanted]]
    twice = next((path for path, count in Counter(paths).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{root}: {twice} is in several rows; expected one with all its labels")
    require_files(paths, str(tables.get(wanted, tables.get("all", root))))
    return SampleSet(classes=classes, samples=tuple(sample_of(row, root, classes) for row in rows[wanted]))


def _rows(table: Path) -> Iterator[Row]:
    if table.suffix == ".csv":
        for line, cells in table_rows(table, _EXPECTED, "file_name"):
            yield _row({name: cell for name, cell in cells.items() if cell}, table, f"{table}: line {line}")
        return
    for line, record in json_lines(table, _EXPECTED):
        if not isinstance(record, dict):
            raise UserError(f"{table}:{line}: a {type(record).__name__}, expected {_EXPECTED}")
        yield _row(record, table, f"{table}:{line}")


def _row(record: Mapping[str, Any], table: Path, where: str) -> Row:
    name = record.get("file_name")
    if not isinstance(name, str):
        raise UserError(f"{where}: no file_name; expected {_EXPECTED}")
    return row_of(record, inside(table.parent, name, str(table)), where)
