"""Tables of delimited text (CSV): commas, semicolons or tabs, as written by spreadsheets."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wsl.documents.guard import reading
from wsl.errors import UserError

_DELIMITERS = ",;\t"


class Row(NamedTuple):
    """A row of a table: its line number, and its cells by column, without surrounding blanks."""

    line: int
    cells: dict[str, str]


def table_header(path: Path, expected: str) -> tuple[str, ...]:
    """The names of a table's columns.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or is empty.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.csv")
    ...     _ = file.write_text("path;labels\\n", encoding="utf-8-sig")
    ...     table_header(file, "a table")
    ('path', 'labels')
    """
    return tuple(_first(path, expected)[0])


def table_delimiter(path: Path, expected: str) -> str:
    """The delimiter of a table: of comma, semicolon and tab, the one that gives the header the most columns.

    Raises:
        UserError: as for `table_header`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.csv")
    ...     _ = file.write_text("path;labels;split, if any\\n", encoding="utf-8")
    ...     table_delimiter(file, "a table")
    ';'
    """
    return _first(path, expected)[1]


def columns_of(path: Path) -> tuple[str, ...]:
    """The names of a table's columns; none if the file is not a readable table.

    >>> columns_of(Path("no such file.csv"))
    ()
    """
    try:
        return table_header(path, "a table")
    except UserError:
        return ()


def table_rows(path: Path, expected: str, *required: str) -> Iterator[Row]:
    """The rows of a table with a header, one in memory at a time; empty ones are left out.

    The delimiter is the one that gives the header the most columns. Trailing columns without a name are left out if
    they are empty.

    Raises:
        UserError: the file cannot be read or is not UTF-8; a required column is missing, or a column is named twice; a
            row has another number of cells than the header, or a quote is not closed. Messages name the line of a row.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.csv")
    ...     _ = file.write_text('path, labels\\na.jpg, "dog, black"\\n', encoding="utf-8")
    ...     list(table_rows(file, "a table"))
    [Row(line=2, cells={'path': 'a.jpg', 'labels': 'dog, black'})]
    """
    header, delimiter = _first(path, expected)
    _check(header, required, path, expected)
    for line, cells in table_cells(path, expected, delimiter):
        if line > 1:
            yield Row(line, _row(cells, header, f"{path}: line {line}"))


def table_cells(path: Path, expected: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The cells of each row that is not empty, with the number of its last line; a header is treated as a row.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or a quote is not closed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.csv")
    ...     _ = file.write_text("/m/0bt9lr,Dog\\n", encoding="utf-8")
    ...     list(table_cells(file, "a table"))
    [(1, ['/m/0bt9lr', 'Dog'])]
    """
    with reading(path, expected), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if any(cells):
                    yield reader.line_num, cells
        except csv.Error as error:
            raise UserError(f"{path}: line {reader.line_num}: {error}; expected {expected}") from error


def _first(path: Path, expected: str) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter."""
    with reading(path, expected), path.open(encoding="utf-8-sig", newline="") as file:
        return _header(file.readline(1 << 20), path)


def _header(line: str, path: Path) -> tuple[list[str], str]:
    found: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        try:
            cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True), [])
        except csv.Error as error:
            raise UserError(f"{path}: line 1: {error}; expected a header with the names of the columns") from error
        found[delimiter] = [cell.strip() for cell in cells]
    delimiter = max(_DELIMITERS, key=lambda one: len(found[one]))
    header = found[delimiter]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise UserError(f"{path}: the first line is empty, expected a header with the names of the columns")
    return header, delimiter


def _check(header: list[str], required: tuple[str, ...], path: Path, expected: str) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        named = ",".join(header)
        raise UserError(f"{path}: no column {missing[0]!r} in the header {named!r:.200}; expected {expected}")
    twice = next((name for name, count in Counter(header).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: the header names the column {twice!r} twice; expected distinct names")
    if "" in header:
        raise UserError(f"{path}: a column of the header has no name; expected {expected}")


def _row(cells: list[str], header: list[str], where: str) -> dict[str, str]:
    if len(cells) < len(header) or any(cells[len(header) :]):
        raise UserError(
            f"{where} has {len(cells)} cells, expected {len(header)} as in the header; quote a value that holds the "
            "separator"
        )
    return dict(zip(header, cells, strict=False))
