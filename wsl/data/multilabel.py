"""Multi-label data sets as CSV files: one row an image."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from wsl.data.splits import unknown_split
from wsl.documents import guarded
from wsl.errors import UserError
from wsl.images.sources import require_files
from wsl.samples import Sample, SampleSet

_POSITIVE, _NEGATIVE, _IGNORED = ("1", "1.0"), ("0", "0.0"), ("-1", "-1.0", "")

Row = tuple[int, dict[str, str]]


@guarded("a CSV file of labels")
def read_csv(path: str | Path, split: str | None = None) -> SampleSet:
    """The images and labels of a CSV file, in UTF-8 and with a header, in one of two forms.

    ``path,labels`` names an image's classes, separated by ``;`` or ``|``; the classes are all names in the file
    (of every split), sorted. ``path,cat,dog,…`` has a column for each class, in their order: 1 present, 0 absent,
    -1 or nothing ignored. A column ``split`` may stand in both.

    Paths are relative to the file's folder or absolute; the file is the user's own, so it may point anywhere.

    Args:
        path: The file.
        split: A value of the column ``split``; None or ``all`` takes every row.

    Raises:
        UserError: no such file or split, not UTF-8, no column ``path``, a malformed row, an image that is missing
            or listed twice. Rows are named by their line.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "a.jpg").touch()
    ...     file = Path(folder, "labels.csv")
    ...     _ = file.write_text("path,labels\\na.jpg,dog;cat\\n", encoding="utf-8")
    ...     read_csv(file).samples[0].labels
    ('cat', 'dog')
    """
    path = Path(path)
    header, rows = _read_rows(path)
    classes = _classes(header, rows, path)
    samples: dict[Path, tuple[int, Sample]] = {}
    chosen = _of_split(rows, header, split, path)
    for line, row in chosen:
        sample = _sample(row, classes, path, line)
        if sample.path in samples:
            first = samples[sample.path][0]
            raise UserError(
                f"{path}: {row['path']} stands on line {first} and again on line {line}; give all its labels in one row"
            )
        samples[sample.path] = (line, sample)
    require_files(samples, path.name)
    return SampleSet(classes=classes, samples=tuple(sample for _, sample in samples.values()))


def _read_rows(path: Path) -> tuple[list[str], list[Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, path)
            rows = [(reader.line_num, _row(cells, header, path, reader.line_num)) for cells in reader if any(cells)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a CSV file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}; expected comma-separated values") from error
    if not rows:
        raise UserError(f"{path}: no row below the header; expected one for each image")
    return header, rows


def _check_header(header: Sequence[str], path: Path) -> None:
    if "path" not in header:
        raise UserError(f"{path}: the header is {','.join(header)!r}, expected path,labels or path,<class>,<class>,…")
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the header names the column {twice!r} twice; expected distinct names")
    if "" in header or not set(header) - {"path", "split"}:
        raise UserError(f"{path}: the header is {','.join(header)!r}, expected named columns with the labels")


def _row(cells: Sequence[str], header: Sequence[str], path: Path, line: int) -> dict[str, str]:
    if len(cells) != len(header):
        raise UserError(
            f"{path}: line {line} has {len(cells)} cells, expected {len(header)} as in the header; quote a value that "
            "holds a comma"
        )
    row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
    if not row["path"]:
        raise UserError(f"{path}: line {line} has no path; expected an image file")
    return row


def _of_split(rows: Sequence[Row], header: Sequence[str], split: str | None, path: Path) -> Sequence[Row]:
    if split is None:
        return rows
    splits = {row["split"] for _, row in rows} if "split" in header else set()
    if split in splits:
        return [(line, row) for line, row in rows if row["split"] == split]
    if split == "all":
        return rows
    raise unknown_split(split, [*splits, "all"], path)


def _classes(header: Sequence[str], rows: Sequence[Row], path: Path) -> tuple[str, ...]:
    columns = tuple(name for name in header if name not in ("path", "split"))
    if "labels" not in columns:
        return columns
    if len(columns) > 1:
        extra = next(name for name in columns if name != "labels")
        raise UserError(f"{path}: a column 'labels' and a column {extra!r}; expected either names or 0/1 columns")
    classes = {label for _, row in rows for label in _split_labels(row["labels"])}
    if not classes:
        raise UserError(f"{path}: no row has a label; expected class names separated by ';' or '|'")
    for line, row in rows:
        _check_labels(row["labels"], classes, f"{path}: line {line}")
    return tuple(sorted(classes))


def _check_labels(cell: str, classes: Collection[str], where: str) -> None:
    """Check that no label is a list in another notation: with brackets, or with commas between other labels."""
    for label in _split_labels(cell):
        parts = {part.strip() for part in label.split(",")}
        if (label[0] in "[({" and label[-1] in "])}") or (len(parts) > 1 and not parts.isdisjoint(classes)):
            raise UserError(f"{where}: the label {label!r} looks like a list, expected names separated by ';' or '|'")


def _split_labels(cell: str) -> set[str]:
    return {label.strip() for label in re.split(r"[;|]", cell)} - {""}


def _sample(row: dict[str, str], classes: Sequence[str], path: Path, line: int) -> Sample:
    if "labels" in row:
        present = _split_labels(row["labels"])
        return Sample(path=path.parent / row["path"], labels=tuple(name for name in classes if name in present))
    for name in classes:
        if row[name] not in (*_POSITIVE, *_NEGATIVE, *_IGNORED):
            raise UserError(f"{path}: line {line}, column {name!r}: {row[name]!r}, expected 1, 0, -1 or nothing")
    return Sample(
        path=path.parent / row["path"],
        labels=tuple(name for name in classes if row[name] in _POSITIVE),
        ignored=tuple(name for name in classes if row[name] in _IGNORED),
    )
