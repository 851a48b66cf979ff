"""Rows of JSON with an image, a class, a score and a box, and the images and classes to which their numbers refer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from wsl.errors import UserError
from wsl.formats.predictions.class_names import suggestion
from wsl.formats.predictions.detections import Detection, Detections
from wsl.formats.predictions.split import Numbers
from wsl.samples import Sample, SampleSet

_LARGEST = 1e9


class Row(NamedTuple):
    """One detection as given in a file; ``image`` and ``category`` are ids or names, ``file_name`` is a name."""

    where: str
    image: int | str | None
    file_name: str | None
    category: int | str
    score: float
    xyxy: tuple[float, float, float, float]


def add_rows(rows: Sequence[Row], detections: Detections, numbers: Numbers | None, *, background: bool = False) -> None:
    """Add the rows of a file to detections, after resolving their numbers of images and classes.

    Images are given by ``file_name``, by an id of the annotations, by a string, or, as in ultralytics, by the number in
    their file name (``12`` is ``000012.jpg``). Classes are given by name, by an id of the annotations, or by their
    position in the class list, counted from 1, or from 0 unless 0 is ``background``.

    Raises:
        UserError: a number matches two images, does not refer to a class, or may be counted from 0 or from 1.
    """
    image = _images(detections, numbers)
    category = _categories([row.category for row in rows], detections, numbers, background=background)
    for row in rows:
        sample, label = image(row), category(row)
        named = row.file_name if row.image is None else row.image
        detections.add(named, sample, Detection(label, row.score, row.xyxy), row.where)


def _images(detections: Detections, numbers: Numbers | None) -> Callable[[Row], Sample | None]:
    known: Mapping[int | str, str] = {} if numbers is None else numbers.images
    by_stem: Mapping[int, list[Sample]] = {} if numbers is not None else _by_number(detections.samples)

    def find(row: Row) -> Sample | None:
        if row.file_name is not None and (sample := detections.match(row.file_name)) is not None:
            return sample
        if row.image is not None and row.image in known:
            return detections.match(known[row.image])
        if isinstance(row.image, str):
            if row.image.isdecimal() and int(row.image) in known:
                return detections.match(known[int(row.image)])
            return detections.match(row.image)
        fitting = by_stem.get(row.image, []) if row.image is not None else []
        if len(fitting) > 1:
            raise UserError(
                f"{row.where} has the image_id {row.image}, which is the number of {fitting[0].id!r} and of "
                f"{fitting[1].id!r}: expected file_name in each row"
            )
        return fitting[0] if fitting else None

    return find


def _by_number(samples: SampleSet) -> Mapping[int, list[Sample]]:
    """The samples whose file name is a number, by this number."""
    found: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in samples.samples:
        if sample.path.stem.isdecimal():
            found[int(sample.path.stem)].append(sample)
    return found


def _categories(
    given: Collection[int | str], detections: Detections, numbers: Numbers | None, *, background: bool
) -> Callable[[Row], str]:
    classes = detections.samples.classes
    ids = {number for number in given if isinstance(number, int)}
    names: Mapping[int, str] = {} if numbers is None else numbers.categories
    if not ids <= set(names):
        names = _positions(ids, classes, background=background) or names

    def find(row: Row) -> str:
        if isinstance(row.category, str):
            if row.category not in classes and row.category.isdecimal():
                raise UserError(
                    f"{row.where} has the category_id {row.category!r}, a text; expected the number {row.category} or "
                    "the name of a class"
                )
            return row.category
        if row.category in names:
            return names[row.category]
        known = "" if numbers is None else "is not a category of the annotations and "
        if ids and min(ids) >= 1 and max(ids) < len(classes):
            raise UserError(
                f"{row.where} has the category_id {row.category}, which {known}may be counted from 0 or from 1: "
                f"expected names of classes as category_name, {suggestion('', classes)}"
            )
        raise UserError(
            f"{row.where} has the category_id {row.category}, which {known}is not a position in the class list: "
            f"{suggestion('', classes)}"
        )

    return find


def _positions(ids: Collection[int], classes: Sequence[str], *, background: bool) -> Mapping[int, str] | None:
    """The classes by position; None if the numbers do not show whether the first class is 0 or 1."""
    count = len(classes)
    if 0 in ids and not background and max(ids) < count and min(ids) >= 0:
        return dict(enumerate(classes))
    if min(ids) >= 1 and (max(ids) == count or (background and max(ids) <= count)):
        return dict(enumerate(classes, 1))
    return None


def image_of(record: Mapping[str, Any], where: str) -> tuple[int | str | None, str | None]:
    """The id and the file name of the image in a record, at least one of which must exist.

    Raises:
        UserError: there is neither.

    >>> image_of({"image_id": 7, "file_name": "a.jpg"}, "row 0")
    (7, 'a.jpg')
    """
    image = record.get("image_id")
    name = next((record[key] for key in ("file_name", "image", "path") if isinstance(record.get(key), str)), None)
    if isinstance(image, bool) or not isinstance(image, (int, str)):
        if name is None or image is not None:
            raise UserError(f"{where} has the image_id {image!r}, expected the id of an annotated image or a file_name")
        image = None
    return image, name


def category_of(record: Mapping[str, Any], where: str) -> int | str:
    """The class of a record: its name if there is one, else its number.

    Raises:
        UserError: there is neither.

    >>> category_of({"category_id": 3}, "row 0"), category_of({"category_id": 3, "category_name": "dog"}, "row 0")
    (3, 'dog')
    """
    for key in ("category_name", "category", "label", "category_id"):
        value = record.get(key)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return value
    raise UserError(f"{where} has the category_id {record.get('category_id')!r}, expected a number or category_name")


def score_of(value: Any, where: str) -> float:
    """A score as a finite float.

    Raises:
        UserError: the value is not a finite number.

    >>> score_of(1, "row 0")
    1.0
    """
    if not is_number(value):
        raise UserError(f"{where} has the score {value!r}, expected a number")
    return float(value)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number that a box or a score may have.

    >>> is_number(1.5), is_number("1.5"), is_number(True), is_number(float("nan"))
    (True, False, False, False)
    """
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
