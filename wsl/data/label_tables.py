"""Multi-label data sets as tables (CSV): one row an image."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from wsl.data.splits import find_split, unknown_split
from wsl.documents import guarded
from wsl.documents.tables import Row, columns_of, table_header, table_rows
from wsl.errors import UserError, listed
from wsl.images.sources import require_files
from wsl.samples import Sample, SampleSet

log = logging.getLogger("wsl")

Uncertain = Literal["ignore", "absent", "present"]

# By lower case, the more telling first.
_PATHS = ("path", "file_name", "filename", "filepath", "file", "image_path", "image", "image index", "img")
_NAMES = ("labels", "finding labels", "label", "classes", "tags", "class", "category", "tag")
_EXPECTED = "path,labels or path,<class>,<class>,…"
_NOTHING = "no finding"
# CheXpert's columns beside the classes; what it leaves empty, nobody mentioned.
_ABOUT_PATIENTS = ("Sex", "Age", "Frontal/Lateral", "AP/PA")
_PRESENT, _ABSENT, _UNCERTAIN = ("1", "1.0"), ("0", "0.0"), ("-1", "-1.0")


@guarded("a table of labels")
def read_csv(source: str | Path, split: str | None = None, *, uncertain: Uncertain = "ignore") -> SampleSet:
    """The images and labels of a table with a header, in UTF-8, separated by commas, semicolons or tabs.

    One column names the images: ``path``, ``file_name``, ``filename``, ``image`` or the like. Their labels have one of
    two forms.

    * A column ``labels`` (``label``, ``class``, ``tags``, …) has an image's classes, separated by ``;`` or ``|``. The
      classes are all names in the file (of every split), sorted. Other columns are not read.
    * Each other column is a class: 1 present, 0 absent, -1 uncertain; nothing is ignored. In CheXpert's tables, which
      are known by their columns ``Sex``, ``Age``, ``Frontal/Lateral`` and ``AP/PA``, nothing is absent: the report did
      not mention it.

    ``No Finding`` is no class in either. A column ``split`` may stand in both. Paths are relative to the file's
    folder or the one above, or absolute; the file is the user's own, so it may point anywhere.

    Args:
        source: The file; or a folder with one for each split, ``<split>.csv`` or ``<split>/_classes.csv``, of which all
            name classes.
        split: A value of the column ``split``, or a file of the folder; None or ``all`` takes every row of a file.
        uncertain: What -1 means: ``ignore`` leaves the class out for that image, neither present nor absent.

    Raises:
        UserError: no such file or split, not UTF-8, no column of images, a malformed row, an image that is missing or
            listed twice. Rows are named by their line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.jpg").touch()
    ...     file = Path(folder, "labels.csv")
    ...     _ = file.write_text("path,labels\\na.jpg,dog;cat\\n", encoding="utf-8")
    ...     read_csv(file).samples[0].labels
    ('cat', 'dog')
    """
    path, split, others = _tables(Path(source), split)
    labelled = _labelled(path, others, uncertain)
    samples: dict[Path, tuple[int, Sample]] = {}
    for row in _of_split(path, labelled.rows, split):
        file = _file(path, row, labelled.images)
        if file in samples:
            raise UserError(
                f"{path}: {row.cells[labelled.images]} stands on line {samples[file][0]} and again on line {row.line}; "
                "give all its labels in one row"
            )
        present, ignored = labelled.labels[row.line]
        samples[file] = (row.line, Sample(path=file, labels=present, ignored=ignored))
    require_files(samples, path.name)
    return SampleSet(classes=labelled.classes, samples=tuple(sample for _, sample in samples.values()))


def label_tables(folder: Path) -> dict[str, Path]:
    """The tables of images and labels in a folder, by split: ``train.csv``, ``train/_classes.csv``.

    >>> label_tables(Path("no such folder"))
    {}
    """
    found = {path.parent.name: path for path in sorted(folder.glob("*/_classes.csv"))}
    found |= {path.stem: path for path in sorted(folder.glob("*.csv"))}
    return {split: path for split, path in found.items() if _names_images(path)}


def _names_images(path: Path) -> bool:
    header = columns_of(path)
    return _column(header, _PATHS) is not None and len(header) > 1


def _tables(source: Path, split: str | None) -> tuple[Path, str | None, list[Path]]:
    """The table of a split, the split of its rows, and the tables of the other splits."""
    if not source.is_dir():
        return source, split, []
    tables = label_tables(source)
    path = tables[find_split(split, tables, source)]
    return path, None, [table for table in tables.values() if table != path]


class _Table(NamedTuple):
    """A table's rows, the column of its images, its classes, and of each line those present and those ignored."""

    rows: Sequence[Row]
    images: str
    classes: tuple[str, ...]
    labels: Mapping[int, tuple[tuple[str, ...], tuple[str, ...]]]


def _labelled(path: Path, others: Iterable[Path], uncertain: Uncertain) -> _Table:
    """What a table says; where labels are names, the classes are those of the other tables, too."""
    header = table_header(path, _EXPECTED)
    images, names = _column(header, _PATHS), _column(header, _NAMES)
    if images is None:
        raise UserError(f"{path}: no column of the header {','.join(header)!r:.200} names images; expected {_EXPECTED}")
    rows = list(table_rows(path, _EXPECTED))
    if not rows:
        raise UserError(f"{path}: no row below the header; expected one for each image")
    columns = [name for name in header if name not in (images, names, "split")]
    if names is None:
        return _of_columns(path, rows, images, columns, uncertain)
    if columns:
        log.info("%s: the classes are those of the column %s; not read: %s", path, names, listed(columns))
    more: set[str] = set()
    for table in others:
        if (column := _column(table_header(table, _EXPECTED), _NAMES)) is not None:
            more.update(*(_split_labels(row.cells[column]) for row in table_rows(table, _EXPECTED)))
    return _of_names(path, rows, images, names, more)


def _column(header: Sequence[str], known: Iterable[str]) -> str | None:
    """The column that has one of the known names, in whatever case."""
    by_name = {name.lower(): name for name in reversed(header)}
    return next((by_name[name] for name in known if name in by_name), None)


def _of_split(path: Path, rows: Sequence[Row], split: str | None) -> Sequence[Row]:
    if split is None:
        return rows
    splits = {row.cells["split"] for row in rows if "split" in row.cells}
    if split in splits:
        return [row for row in rows if row.cells["split"] == split]
    if split == "all":
        return rows
    raise unknown_split(split, [*splits, "all"], path, divisible=not splits)


def _file(path: Path, row: Row, column: str) -> Path:
    """The image of a row, beside the table or, as CheXpert has it, below the folder above."""
    name = row.cells[column]
    if not name or "\0" in name:
        raise UserError(f"{path}: line {row.line} names no image in the column {column}; expected a file")
    beside, above = path.parent / name, path.parent.parent / name
    return above if not beside.exists() and above.exists() else beside


def _of_names(path: Path, rows: Sequence[Row], images: str, column: str, more: Collection[str]) -> _Table:
    """The labels of each row from their names in one column; ``more`` are classes of other tables."""
    found = {row.line: _split_labels(row.cells[column]) for row in rows}
    classes = set(more).union(*found.values())
    if not classes:
        raise UserError(f"{path}: no row has a label; expected class names separated by ';' or '|'")
    for line, labels in found.items():
        _check_labels(labels, classes, f"{path}: line {line}")
    none: tuple[str, ...] = ()
    return _Table(
        rows, images, tuple(sorted(classes)), {line: (tuple(sorted(labels)), none) for line, labels in found.items()}
    )


def _split_labels(cell: str) -> set[str]:
    labels = {label.strip() for label in re.split(r"[;|]", cell)} - {""}
    return {label for label in labels if label.lower() != _NOTHING}


def _check_labels(labels: Iterable[str], classes: Collection[str], where: str) -> None:
    """Check that no label is a list in another notation: with brackets, or with commas between other labels."""
    for label in labels:
        parts = {part.strip() for part in label.split(",")}
        if (label[0] in "[({" and label[-1] in "])}") or (len(parts) > 1 and not parts.isdisjoint(classes)):
            raise UserError(f"{where}: the label {label!r} looks like a list, expected names separated by ';' or '|'")


def _of_columns(path: Path, rows: Sequence[Row], images: str, columns: Sequence[str], uncertain: Uncertain) -> _Table:
    """The labels of each row from a column for each class."""
    medical = set(_ABOUT_PATIENTS) <= set(columns)
    classes = [name for name in columns if name.lower() != _NOTHING and not (medical and name in _ABOUT_PATIENTS)]
    if not classes:
        raise UserError(f"{path}: no column with labels; expected {_EXPECTED}")
    meanings: dict[str, str] = dict.fromkeys(_PRESENT, "present") | dict.fromkeys(_ABSENT, "absent")
    meanings |= dict.fromkeys(_UNCERTAIN, uncertain) | {"": "absent" if medical else "ignore"}
    labels = {}
    for row in rows:
        said: dict[str, list[str]] = {"present": [], "absent": [], "ignore": []}
        for name in classes:
            if row.cells[name] not in meanings:
                raise UserError(
                    f"{path}: line {row.line}, column {name!r}: {row.cells[name]!r:.80}, expected 1, 0, -1 or nothing"
                )
            said[meanings[row.cells[name]]].append(name)
        labels[row.line] = (tuple(said["present"]), tuple(said["ignore"]))
    return _Table(rows, images, tuple(classes), labels)
