"""Common functions of readers and writers of other tools' files: listing files, boxes as rows, writing XML."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as Writing

import numpy as np

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.files import is_left_over

Corners = tuple[float, float, float, float]
FARTHEST = 2.0
"""The largest accepted coordinate or side as a fraction of the image; more than 1, because boxes may reach outside."""

# Characters that XML 1.0 cannot represent, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """The sorted files with some suffixes in a folder and below, without those that macOS and NAS systems leave there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("a.XML", "._a.xml", "b.txt"):
    ...         Path(root, name).touch()
    ...     [path.name for path in files_below(Path(root), ".xml")]
    ['a.XML']
    """
    paths = (
        Path(parent, name) for parent, _, names in os.walk(folder) for name in names if name.lower().endswith(suffixes)
    )
    files = (path for path in paths if path.is_file() or path.is_symlink())  # no pipes, which may be endless
    return sorted(path for path in files if not any(map(is_left_over, path.relative_to(folder).parts)))


def file_in(place: Path, *names: str) -> Path:
    """The file at a path: the path itself, or in a folder the first existing file of some names.

    >>> file_in(Path("boxes.csv"), "other.csv").name
    'boxes.csv'
    """
    return next((place / name for name in names if (place / name).is_file()), place) if place.is_dir() else place


def xml_bytes(root: Writing.Element, *, declared: bool = True) -> bytes:
    """An indented XML document, with or without the XML declaration.

    Raises:
        UserError: a name has a character that XML cannot represent.

    >>> element = Writing.Element("a", name="cat & dog")
    >>> xml_bytes(element).splitlines()[-1]
    b'<a name="cat &amp; dog" />'
    """
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if _NOT_XML.search(text):
                raise UserError(f"{text!r} has a character that XML cannot represent: rename the file or the class")
    Writing.indent(root)
    return bytes(Writing.tostring(root, encoding="utf-8", xml_declaration=declared)) + b"\n"


def boxes_of(rows: Iterable[tuple[str, float, Corners]]) -> Boxes:
    """Boxes from (label, score, xyxy) rows.

    Raises:
        UserError: a box is inverted.

    >>> boxes_of([("dog", 0.5, (0, 0, 2, 1))]).labels
    ('dog',)
    """
    listed = list(rows)
    return Boxes(
        xyxy=np.array([xyxy for _, _, xyxy in listed], np.float32).reshape(-1, 4),
        labels=tuple(label for label, _, _ in listed),
        scores=np.array([score for _, score, _ in listed], np.float32),
    )


def turned(corners: Corners, degrees: float, about: tuple[float, float]) -> Corners:
    """The bounds of a box that is rotated clockwise about a point.

    >>> [round(edge) for edge in turned((30, 45, 70, 55), 90, (50, 50))]
    [45, 30, 55, 70]
    """
    if not degrees:
        return corners
    x0, y0, x1, y1 = corners
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    offsets = [(x - about[0], y - about[1]) for x in (x0, x1) for y in (y0, y1)]
    xs = [about[0] + x * cosine - y * sine for x, y in offsets]
    ys = [about[1] + x * sine + y * cosine for x, y in offsets]
    return min(xs), min(ys), max(xs), max(ys)


def rows_of(boxes: Boxes) -> Iterable[tuple[str, float, Corners]]:
    """The inverse of `boxes_of`: (label, score, xyxy) for each box, as Python numbers.

    >>> list(rows_of(boxes_of([("dog", 0.5, (0, 0, 2, 1))])))
    [('dog', 0.5, (0.0, 0.0, 2.0, 1.0))]
    """
    return zip(boxes.labels, boxes.scores.tolist(), map(_four, boxes.xyxy.tolist()), strict=True)


def _four(row: list[float]) -> Corners:
    x0, y0, x1, y1 = row
    return x0, y0, x1, y1
