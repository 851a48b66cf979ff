"""Reading JSON and text that strangers wrote, every surprise one clear line; writing XML."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Writing

import numpy as np

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.files import is_left_over

LARGEST_JSON = 2 << 30
_LARGEST = 1e18  # of coordinates and scores, which single precision holds with all that they are multiplied by

# What XML 1.0 has no way to write, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def load_json(path: Path, expected: str) -> Any:
    """A JSON document, which is held.

    Raises:
        UserError: it cannot be read, is larger than 2 GiB, or is not JSON.
    """
    if path.is_file() and path.stat().st_size > LARGEST_JSON:
        raise UserError(f"{path}: {path.stat().st_size >> 20} MiB of JSON, expected 2048 at most: split it")
    try:
        return json.loads(read_text(path, expected))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({error}); expected {expected}") from error


def read_text(path: Path, expected: str) -> str:
    """A UTF-8 text file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; expected {expected}") from error


def files_below(folder: Path, *suffixes: str) -> list[Path]:
    """The files of some suffixes in a folder and below it, sorted, without what macOS and NAS systems leave there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("a.XML", "._a.xml", "b.txt"):
    ...         Path(root, name).touch()
    ...     [path.name for path in files_below(Path(root), ".xml")]
    ['a.XML']
    """
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return sorted(path for path in paths if not any(map(is_left_over, path.relative_to(folder).parts)))


def xml_bytes(root: Writing.Element, *, declared: bool = True) -> bytes:
    """An XML document, indented, with or without the line that says so.

    Raises:
        UserError: a name holds a character that XML cannot write.

    >>> element = Writing.Element("a", name="cat & dog")
    >>> xml_bytes(element).splitlines()[-1]
    b'<a name="cat &amp; dog" />'
    """
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if _NOT_XML.search(text):
                raise UserError(f"{text!r} holds a character that XML cannot write: rename the file or the class")
    Writing.indent(root)
    return bytes(Writing.tostring(root, encoding="utf-8", xml_declaration=declared)) + b"\n"


def number(value: Any, what: str) -> float:
    """A finite number, as coordinates and scores are.

    Raises:
        UserError: it is none, or beyond all sizes of images.

    >>> number("1.5", "x")
    1.5
    """
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if isinstance(value, bool) or not abs(result) < _LARGEST:
        raise UserError(f"{what} is {value!r}, expected a number")
    return result


def boxes_of(rows: Iterable[tuple[str, float, tuple[float, float, float, float]]]) -> Boxes:
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


def rows_of(boxes: Boxes) -> Iterable[tuple[str, float, tuple[float, float, float, float]]]:
    """The inverse of `boxes_of`: (label, score, xyxy) a box, as Python's own numbers.

    >>> list(rows_of(boxes_of([("dog", 0.5, (0, 0, 2, 1))])))
    [('dog', 0.5, (0.0, 0.0, 2.0, 1.0))]
    """
    return zip(boxes.labels, boxes.scores.tolist(), map(_four, boxes.xyxy.tolist()), strict=True)


def _four(row: list[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = row
    return x0, y0, x1, y1
