"""CSV with one row per box, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from wsl.documents import guarded, located, number
from wsl.documents.tables import table_delimiter
from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import boxes_of, rows_of
from wsl.limits import stated_size

COLUMNS = ("image", "width", "height", "label", "score", "x0", "y0", "x1", "y1")


def write_table(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = True) -> Path:
    """Write ``boxes.csv``: image, size, class, score and half-open corners; an image without boxes has one row.

    Without ``scores`` the column of scores is empty.

    Raises:
        UserError: a class is not listed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 0.5, (0, 2, 4, 6))])
    ...     file = write_table([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     file.read_text(encoding="utf-8").splitlines()[1]
    'a.jpg,8,8,dog,0.5,0.0,2.0,4.0,6.0'
    """
    index = class_index(classes)
    path = out / "boxes.csv"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for image in images:
            if not len(image.boxes):
                writer.writerow([image.name, *image.size, *[""] * 6])
            for label, score, xyxy in rows_of(image.boxes):
                number_of(label, index, image.name)
                writer.writerow([image.name, *image.size, label, f"{score:.9g}" if scores else "", *xyxy])
    return path


@guarded("a CSV of boxes")
def read_table(path: Path) -> Iterator[Labelled]:
    """Read the images and boxes of a CSV with the columns `COLUMNS`; the rows of an image must be consecutive.

    Columns are separated by commas, semicolons or tabs. Where commas do not separate columns, they may be the decimal
    separators of numbers, as a spreadsheet writes them in many countries.

    Raises:
        UserError: the file does not exist, a column is missing, a value is not a number, or the rows of an image are
            not consecutive.
    """
    delimiter = table_delimiter(path, "a CSV of boxes")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Unlike in tables written by people, blanks at the ends of names are kept, as `write_table` writes them.
            rows = csv.DictReader(file, delimiter=delimiter, strict=True)
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path}: has no column {missing[0]!r}, expected {', '.join(COLUMNS)}, separated by commas, "
                    "semicolons or tabs"
                )
            seen: set[str] = set()
            for name, group in itertools.groupby(rows, key=lambda row: str(row["image"])):
                if name in seen:
                    raise UserError(f"{path}: the rows of {name} are not consecutive: expected sorted rows")
                seen.add(name)
                with located(f"{path}: {name}"):
                    yield _image(name, list(group), path, "." if delimiter == "," else ",")
    except csv.Error as error:
        raise UserError(f"{path}: not CSV ({error}); expected {', '.join(COLUMNS)}") from error


def _image(name: str, rows: list[dict[str, Any]], path: Path, point: str) -> Labelled:
    size = stated_size(rows[0]["width"], rows[0]["height"], f"{path}: {name}")
    boxes = []
    for row in rows:
        if row["label"] in ("", None):
            continue
        texts = (row["score"] or "1", *(row[edge] or "" for edge in COLUMNS[5:]))
        score, x0, y0, x1, y1 = (
            number(text.replace(point, "."), f"{path}: {column} of {name}")
            for column, text in zip(COLUMNS[4:], texts, strict=True)
        )
        boxes.append((str(row["label"]), score, (x0, y0, x1, y1)))
    return Labelled(name=name, size=size, boxes=boxes_of(boxes))
