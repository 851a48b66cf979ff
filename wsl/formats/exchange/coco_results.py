"""COCO's detection results: a list of scored boxes or masks that refer to images and classes by id."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from wsl.files import replacing, write_text
from wsl.formats.exchange.coco import CocoNames, append_record
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import rows_of


def write_coco_results(
    images: Iterable[Labelled], out: Path, classes: Sequence[str], *, reference: Path | None = None
) -> Path:
    """Write ``results.json``: a list of scored boxes, in the format in which COCO's evaluation reads detections.

    With ``reference``, which are annotations in COCO's format, the ids are those of the images and categories with the
    same names there. Without it they count from 1, and ``images.json`` lists the images and categories.

    Raises:
        UserError: the reference does not contain an image or a class.

    >>> import tempfile
    >>> from wsl.boxes import Boxes
    >>> dog = Boxes(xyxy=[[1, 2, 4, 6]], labels=["dog"], scores=[0.5])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = write_coco_results([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     json.loads(file.read_text(encoding="utf-8"))
    [{'image_id': 1, 'category_id': 1, 'score': 0.5, 'bbox': [1.0, 2.0, 3.0, 4.0]}]
    """
    with NumberedResults(out, classes, reference) as results:
        for image in images:
            results.open_image(image)
            for label, score, (x0, y0, x1, y1) in rows_of(image.boxes):
                results.add(label, score, {"bbox": [x0, y0, x1 - x0, y1 - y0]})
    return results.path


class NumberedResults:
    """Writer of ``results.json``, and of ``images.json`` if there is no reference for its ids."""

    def __init__(self, out: Path, classes: Sequence[str], reference: Path | None) -> None:
        self.path = out / "results.json"
        self._names = out / "images.json"
        self._known = None if reference is None else CocoNames(reference)
        self._index = class_index(classes)
        self._images: list[dict[str, Any]] = []
        self._current: tuple[Any, str] = (0, "")
        self._count = 0
        self._stack = contextlib.ExitStack()
        self._file: TextIO | None = None

    def __enter__(self) -> NumberedResults:
        temporary = self._stack.enter_context(replacing(self.path))
        self._file = self._stack.enter_context(temporary.open("w", encoding="utf-8"))
        self._file.write("[")
        return self

    def open_image(self, image: Labelled) -> None:
        """Set the image to which the following results belong.

        Raises:
            UserError: the reference does not list the image.
        """
        width, height = image.size
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": image.name, "width": width, "height": height})
        self._current = (number if self._known is None else self._known.image(image.name), image.name)

    def add(self, label: str, score: float, geometry: Mapping[str, Any]) -> None:
        """Add one result of the current image.

        Raises:
            UserError: the class is not listed.
        """
        assert self._file is not None
        number, name = self._current
        category = number_of(label, self._index, name) + 1 if self._known is None else self._known.category(label)
        record = {"image_id": number, "category_id": category, "score": score, **geometry}
        append_record(self._file, record, first=self._count == 0)
        self._count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._file is not None:
            self._file.write("\n]\n")
        # The error is passed on, so that a half-written file does not replace an old one.
        self._stack.__exit__(kind, error, trace)
        if kind is None and self._known is None:
            categories = [{"id": number + 1, "name": name} for name, number in self._index.items()]
            document = {"images": self._images, "categories": categories}
            write_text(self._names, json.dumps(document, ensure_ascii=False) + "\n")
