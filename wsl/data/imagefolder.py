"""Data sets in the form of Hugging Face's imagefolder: images beside a table of metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsl.boxes import Boxes
from wsl.data.splits import find_split
from wsl.documents import json_lines, number
from wsl.documents.tables import table_rows
from wsl.errors import UserError
from wsl.images.sources import inside, require_files
from wsl.samples import Sample, SampleSet

_TABLES = ("metadata.csv", "metadata.jsonl")
_LABELS = ("labels", "label", "tags", "classes", "class")
_CATEGORIES = ("categories", "category", "labels", "label")
_EXPECTED = "a row for each image, with file_name and label, labels or objects"


class _Row(NamedTuple):
    """An image, its labels, and its boxes where it has any, each with its class."""

    path: Path
    labels: frozenset[str]
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] | None


def metadata_files(root: Path) -> dict[str, Path]:
    """The tables of metadata in a folder and in those below it, by split; the folder's own is ``all``.

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


def read_imagefolder(root: str | Path, split: str | None) -> SampleSet:
    """The images, labels and boxes of one split of an imagefolder with ``metadata.csv`` or ``metadata.jsonl``.

    ``file_name`` is an image's path below the table's folder. ``label`` (or ``class``) is its class, ``labels`` (or
    ``tags``, ``classes``) a list of them, in CSV separated by ``;`` or ``|``; numbers are names, too. ``objects`` has
    boxes, ``{"bbox": [[x, y, width, height], …], "categories": [class, …]}``, whose classes are labels where no column
    gives any. The classes are all names in the tables of all splits, sorted.

    Args:
        root: The folder.
        split: A folder with a table (``train``; ``val`` also finds ``validation``), or, where one table is for all, the
            folder that ``file_name`` starts with; None or ``all`` takes the table in ``root``.

    Raises:
        UserError: no table, or a malformed one, with its line; no such split; an image is missing or listed twice.

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
    classes = tuple(sorted({label for some in rows.values() for row in some for label in row.labels}, key=_order))
    if not classes:
        raise UserError(f"{next(iter(tables.values()))}: no row has a label; expected {_EXPECTED}")
    paths = [row.path for row in rows[wanted]]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UserError(f"{root}: {twice} is in several rows; expected one with all its labels")
    require_files(paths, str(tables.get(wanted, tables.get("all", root))))
    return SampleSet(classes=classes, samples=tuple(_sample(row, root, classes) for row in rows[wanted]))


def _sample(row: _Row, root: Path, classes: Iterable[str]) -> Sample:
    boxes = None
    if row.boxes is not None:
        boxes = Boxes(
            xyxy=np.array([edges for _, edges in row.boxes], np.float32).reshape(-1, 4),
            labels=tuple(label for label, _ in row.boxes),
        )
    return Sample(
        path=row.path,
        id=row.path.relative_to(root).as_posix(),
        labels=tuple(name for name in classes if name in row.labels),
        boxes=boxes,
    )


def _order(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdecimal() and len(name) < 10 else (1 << 40, name)


def _rows(table: Path) -> Iterator[_Row]:
    if table.suffix == ".csv":
        for line, cells in table_rows(table, _EXPECTED, "file_name"):
            yield _row({name: cell for name, cell in cells.items() if cell}, table, f"{table}: line {line}")
        return
    for line, record in json_lines(table, _EXPECTED):
        if not isinstance(record, dict):
            raise UserError(f"{table}:{line}: a {type(record).__name__}, expected {_EXPECTED}")
        yield _row(record, table, f"{table}:{line}")


def _row(record: Mapping[str, Any], table: Path, where: str) -> _Row:
    name = record.get("file_name")
    if not isinstance(name, str):
        raise UserError(f"{where}: no file_name; expected {_EXPECTED}")
    path = inside(table.parent, name, str(table))
    column = next((key for key in _LABELS if record.get(key) is not None), None)
    labels = frozenset() if column is None else frozenset(_names(record[column], f"{where}: {column}"))
    boxes = _boxes(record["objects"], where) if record.get("objects") is not None else None
    if column is None and boxes is not None:
        labels = frozenset(label for label, _ in boxes)
    return _Row(path, labels, boxes)


def _names(value: Any, where: str) -> list[str]:
    values = re.split(r"[;|]", value) if isinstance(value, str) else value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise UserError(f"{where} is {value!r:.80}, expected the name or number of a class, or a list of them")
    return [str(one).strip() for one in values if str(one).strip()]


def _boxes(objects: Any, where: str) -> tuple[tuple[str, tuple[float, float, float, float]], ...]:
    rows = objects.get("bbox") if isinstance(objects, dict) else None
    key = next((key for key in _CATEGORIES if isinstance(objects, dict) and key in objects), None)
    if (
        not isinstance(rows, list)
        or key is None
        or not isinstance(objects[key], list)
        or len(objects[key]) != len(rows)
    ):
        raise UserError(f"{where}: objects is {objects!r:.80}, expected bbox and categories, as many of each")
    found = []
    for value, edges in zip(objects[key], rows, strict=True):
        if not isinstance(edges, list) or len(edges) != 4:
            raise UserError(f"{where}: the bbox {edges!r:.80}, expected [x, y, width, height]")
        x, y, width, height = (number(edge, f"{where}: an edge of bbox") for edge in edges)
        if min(width, height) < 0:
            raise UserError(f"{where}: the bbox {edges!r:.80} has a negative width or height")
        names = _names(value, f"{where}: {key}")
        if len(names) != 1:
            raise UserError(f"{where}: {key} has {value!r:.80}, expected the name or number of one class")
        found.append((names[0], (x, y, x + width, y + height)))
    return tuple(found)
