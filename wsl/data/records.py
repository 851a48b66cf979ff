"""Labels and boxes in records, as in Hugging Face data sets, with names or numbers of classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wsl.boxes import Boxes
from wsl.documents import number
from wsl.errors import UserError
from wsl.samples import Sample

LABELS = ("labels", "label", "tags", "classes", "class", "fine_label")
"""The columns of labels, the most specific first."""
CATEGORIES = ("categories", "category", "labels", "label")
"""The fields of ``objects`` that hold the classes of its boxes."""


class Row(NamedTuple):
    """An image, its labels, and its boxes if it has any, each with its class."""

    path: Path
    labels: frozenset[str]
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] | None


def row_of(record: Mapping[str, Any], path: Path, where: str, names: Mapping[str, Sequence[str]] | None = None) -> Row:
    """The labels and boxes of a record; ``names`` are the names of numbered classes, by column.

    Raises:
        UserError: a value has another form; the message starts with ``where``.

    >>> row_of({"label": 1}, Path("a.jpg"), "row 0", {"label": ["cat", "dog"]}).labels
    frozenset({'dog'})
    """
    names = names or {}
    column = next((key for key in LABELS if record.get(key) is not None), None)
    labels: frozenset[str] = frozenset()
    if column is not None:
        labels = frozenset(_names(record[column], f"{where}: {column}", names.get(column, ())))
    boxes = _boxes(record["objects"], where, names.get("objects", ())) if record.get("objects") is not None else None
    if column is None and boxes is not None:
        labels = frozenset(label for label, _ in boxes)
    return Row(path, labels, boxes)


def sample_of(row: Row, root: Path, classes: Iterable[str]) -> Sample:
    """The sample of a row; its id is its path below ``root``.

    >>> sample_of(Row(Path("photos/a.jpg"), frozenset(["dog"]), None), Path("photos"), ["cat", "dog"]).id
    'a.jpg'
    """
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


def classes_of(labels: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """All classes among the labels of some images: numbers in numerical order, then names in alphabetical order.

    >>> classes_of([["dog", "10"], ["9", "dog"]])
    ('9', '10', 'dog')
    """
    return tuple(sorted(set().union(*labels), key=_order))


def _order(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdecimal() and len(name) < 10 else (1 << 40, name)


def _names(value: Any, where: str, names: Sequence[str]) -> list[str]:
    values = re.split(r"[;|]", value) if isinstance(value, str) else value if isinstance(value, list) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise UserError(f"{where} is {value!r:.80}, expected the name or number of a class, or a list of them")
        if names and isinstance(one, int) and not 0 <= one < len(names):
            raise UserError(f"{where} is {one}, expected one of the {len(names)} classes, counted from 0")
    texts = [names[one] if names and isinstance(one, int) else str(one).strip() for one in values]
    return [text for text in texts if text]


def _boxes(objects: Any, where: str, given: Sequence[str]) -> tuple[tuple[str, tuple[float, float, float, float]], ...]:
    rows = objects.get("bbox") if isinstance(objects, dict) else None
    key = next((key for key in CATEGORIES if isinstance(objects, dict) and key in objects), None)
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
        names = _names(value, f"{where}: {key}", given)
        if len(names) != 1:
            raise UserError(f"{where}: {key} has {value!r:.80}, expected the name or number of one class")
        found.append((names[0], (x, y, x + width, y + height)))
    return tuple(found)
