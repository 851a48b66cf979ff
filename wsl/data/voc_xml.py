"""Boxes from a Pascal VOC annotation file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes
from wsl.documents import flag, load_xml
from wsl.errors import BadImageError, UserError
from wsl.limits import check_size

_EXPECTED = "a VOC annotation"
_EDGES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """The contents of one annotation file: the image's (width, height), its boxes, and how many were adjusted.

    ``size`` is None if the file has none (some tools write 0); boxes are then not adjusted.
    """

    size: tuple[int, int] | None
    boxes: Boxes
    adjusted: int = 0


def read_annotation(path: Path, *, first: int = 1) -> Annotation:
    """The boxes of one VOC XML file, half-open.

    VOC counts pixels from 1 and includes both corners: (xmin, ymin, xmax, ymax) becomes
    (xmin - 1, ymin - 1, xmax, ymax); other data sets in the same format count from ``first``. A box that extends
    outside the image is clipped, one that lies outside is dropped, and both are counted in ``adjusted``. Parts of
    objects (the person layout task) are left out.

    Raises:
        UserError: the file does not exist, is not well-formed XML or declares entities; the size is impossible; an
            object has no name or box, a coordinate is not a number, or a box is inverted.

    >>> import tempfile
    >>> box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>2</ymax></bndbox>"
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.xml")
    ...     _ = file.write_text(f"<annotation><object><name>dog</name>{box}</object></annotation>", encoding="utf-8")
    ...     read_annotation(file).boxes.xyxy.tolist()
    [[0.0, 0.0, 4.0, 2.0]]
    """
    root = load_xml(path, _EXPECTED, "annotation")
    size = _size(root, path)
    limit = (*size, *size) if size else (math.inf,) * 4
    rows: list[list[float]] = []
    labels: list[str] = []
    difficult: list[bool] = []
    adjusted = 0
    for element in root.iterfind("object"):
        name, box = _object(element, path, first)
        hard = flag(element.findtext("difficult"), f"{path}: difficult of {name}")
        clipped = [min(max(edge, 0.0), end) for edge, end in zip(box, limit, strict=True)] if size else box
        adjusted += clipped != box
        if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
            continue
        rows.append(clipped)
        labels.append(name)
        difficult.append(hard)
    boxes = Boxes(
        xyxy=np.array(rows, np.float32).reshape(-1, 4),
        labels=tuple(labels),
        difficult=np.array(difficult, np.bool_),
    )
    return Annotation(size=size, boxes=boxes, adjusted=adjusted)


def object_names(path: Path) -> set[str]:
    """The class names in one annotation file; the rest of it is not checked.

    Raises:
        UserError: the file does not exist, or is not well-formed XML.
    """
    root = load_xml(path, _EXPECTED, "annotation")
    return {(element.findtext("name") or "").strip() for element in root.iterfind("object")} - {""}


def _size(root: Any, path: Path) -> tuple[int, int] | None:
    try:
        size = int(root.findtext("size/width", "0")), int(root.findtext("size/height", "0"))
    except ValueError:
        return None
    if min(size) <= 0:
        return None
    try:
        check_size(size, source="this annotation")
    except BadImageError as error:
        raise UserError(f"{path}: {error}") from None
    return size


def _object(element: Any, path: Path, first: int) -> tuple[str, list[float]]:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: an object has no <name>; expected the name of its class")
    texts = [element.findtext(f"bndbox/{edge}") for edge in _EDGES]
    try:
        x0, y0, x1, y1 = (float(text) for text in texts)
    except (TypeError, ValueError):
        x0 = math.nan
    if not math.isfinite(x0) or not all(map(math.isfinite, (y0, x1, y1))):
        raise UserError(f"{path}: {name} has the box {texts}; expected the numbers {', '.join(_EDGES)}")
    if x1 < x0 or y1 < y0:
        raise UserError(f"{path}: {name} has the inverted box {texts}; expected {', '.join(_EDGES)} with min <= max")
    return name, [x0 - first, y0 - first, x1 + 1 - first, y1 + 1 - first]
