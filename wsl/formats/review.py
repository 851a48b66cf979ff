"""The marks made in a report: which classes of which images were accepted or rejected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsl.config import BoxConfig
from wsl.documents import guarded, load_json
from wsl.errors import UserError

_EXPECTED = "the marks that wsl-visualize's report saves"
_MARKS = {"accept": True, "reject": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The marks of a report, and the settings of the boxes that were reviewed.

    ``marks`` maps the normalised path of an image to its marked classes, and each of these to whether it was accepted.

    >>> review = Review(file=Path("reviewed.json"), boxes=BoxConfig(), marks={"a.jpg": {"dog": True}})
    >>> review.of(Path("./a.jpg"))
    {'dog': True}
    """

    file: Path
    boxes: BoxConfig
    marks: Mapping[str, Mapping[str, bool]]

    def of(self, path: Path) -> Mapping[str, bool]:
        """The marks of an image: True for a class that was accepted, False for one that was rejected."""
        return self.marks.get(os.path.normpath(path), {})


@guarded(_EXPECTED)
def read_review(file: Path) -> Review:
    """Read the marks of ``reviewed.json``: ``{"boxes": {…}, "marks": [{"image": …, "class": …, "mark": …}]}``.

    Raises:
        UserError: the file has another format, or two different marks for a class of an image.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "reviewed.json")
    ...     _ = path.write_text('{"marks": [{"image": "a.jpg", "class": "dog", "mark": "reject"}]}', encoding="utf-8")
    ...     read_review(path).of(Path("a.jpg"))
    {'dog': False}
    """
    document = load_json(file, _EXPECTED)
    records = document.get("marks") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(records, list):
        raise UserError(f"{file}: has no list of marks; expected {_EXPECTED}")
    marks: dict[str, dict[str, bool]] = {}
    for number, record in enumerate(records):
        image, label, accepted = _mark(record, f"{file}: marks[{number}]")
        if marks.setdefault(image, {}).setdefault(label, accepted) != accepted:
            raise UserError(f"{file}: {image} has two marks of {label!r}; expected one of them")
    boxes = document.get("boxes")
    given = {name: value for name, value in (boxes or {}).items() if name in BoxConfig.__dataclass_fields__}
    return Review(file=file, boxes=BoxConfig(**given), marks=marks)


def _mark(record: Any, where: str) -> tuple[str, str, bool]:
    image, label, mark = (record.get(key) if isinstance(record, dict) else None for key in ("image", "class", "mark"))
    if not isinstance(image, str) or not isinstance(label, str) or mark not in _MARKS:
        raise UserError(f"{where} is {record!r:.120}, expected an image, a class and a mark, accept or reject")
    return os.path.normpath(image), label, _MARKS[mark]
