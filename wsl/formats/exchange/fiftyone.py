"""Data sets exported by FiftyOne: labels of images and boxes, in ``samples.json`` or ``labels.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from wsl.documents import guarded, load_json, located, number
from wsl.errors import UserError
from wsl.formats.exchange.labelled import Labelled
from wsl.formats.exchange.parsing import FARTHEST, Corners, boxes_of, file_in, files_below
from wsl.formats.exchange.yolo import Sizes
from wsl.images.sources import IMAGE_SUFFIXES, inside
from wsl.limits import stated_size

_EXPECTED = "FiftyOne's samples.json (FiftyOneDataset) or labels.json (image classification or detection)"
_KINDS = ("Classification", "Classifications", "Detection", "Detections")


def fiftyone_file(path: Path) -> Path:
    """The file of labels at a path, which may be the file or its folder.

    >>> fiftyone_file(Path("labels.json")).name
    'labels.json'
    """
    return file_in(path, "samples.json", "labels.json")


@guarded(_EXPECTED)
def read_fiftyone(path: Path, sizes: Sizes) -> Iterator[Labelled]:
    """Read the images, labels and boxes of an export of FiftyOne; ``sizes`` measures an image.

    In a ``samples.json`` the field ``ground_truth`` is read, or all fields with labels if there is none; predictions
    (labels with a confidence) are ignored. The tags ``train``, ``val``, ``validation`` and ``test`` of a sample give
    its split.

    Raises:
        UserError: the file does not exist, or a label or box has another form.
    """
    file = fiftyone_file(path)
    document = load_json(file, _EXPECTED)
    found: Iterator[_Found]
    if isinstance(document, dict) and isinstance(document.get("samples"), list):
        found = (_of_sample(record, file) for record in document["samples"])
    elif isinstance(document, dict) and isinstance(document.get("labels"), dict):
        found = _of_labels(document, file)
    else:
        raise UserError(f"{file}: has neither samples nor labels, expected {_EXPECTED}")
    for name, labels, size, split in found:
        with located(f"{file}: {name}"):
            tags = tuple(dict.fromkeys(_name(one) for one in labels if "bounding_box" not in one))
            drawn = [one for one in labels if "bounding_box" in one]
            if size is None:
                size = sizes(inside(file.parent, name, str(file)))
            rows = [(_name(one), 1.0, corners_of(one["bounding_box"], size, f"{file}: {name}")) for one in drawn]
            yield Labelled(name=name, size=size, boxes=boxes_of(rows), tags=tags, split=split)


_Found = tuple[str, list[Mapping[str, Any]], tuple[int, int] | None, str | None]


def _of_sample(record: Any, file: Path) -> _Found:
    if not isinstance(record, dict) or not isinstance(record.get("filepath"), str):
        raise UserError(f"{file}: a sample has no filepath, expected {_EXPECTED}")
    path = PurePosixPath(record["filepath"].replace("\\", "/"))
    # Copies made by the export are below its folder; other paths refer to the machine that exported.
    name = path.as_posix() if not path.is_absolute() and ".." not in path.parts else f"data/{path.name}"
    fields = {key: value for key, value in record.items() if isinstance(value, dict) and value.get("_cls") in _KINDS}
    fields = {"ground_truth": fields["ground_truth"]} if "ground_truth" in fields else fields
    labels = [one for value in fields.values() for one in _each(value)]
    about: Any = record.get("metadata")
    size = None
    if isinstance(about, dict) and about.get("width") is not None:
        size = stated_size(about["width"], about.get("height"), f"{file}: {name}")
    tags = record.get("tags")
    split = next((tag for tag in tags if tag in ("train", "val", "validation", "test")), None) if tags else None
    return name, [one for one in labels if one.get("confidence") is None], size, split


def _each(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The labels of a field, which holds one label or a list of labels."""
    inner = value.get("classifications", value.get("detections"))
    return [one for one in (inner if isinstance(inner, list) else [value]) if isinstance(one, dict)]


def _of_labels(document: Mapping[str, Any], file: Path) -> Iterator[_Found]:
    """The images of a ``labels.json``, where their names have no suffix."""
    classes = document.get("classes")
    known = {path.with_suffix("").relative_to(file.parent / "data").as_posix(): path for path in _images(file)}
    for name, value in document["labels"].items():
        if name not in known and PurePosixPath(name).with_suffix("").as_posix() not in known:
            raise UserError(f"{file}: no image for {name!r:.80} in data/, expected one for each label")
        image = known.get(name) or known[PurePosixPath(name).with_suffix("").as_posix()]
        values = value if isinstance(value, list) else [] if value is None else [value]
        labels = [one if isinstance(one, dict) else {"label": one} for one in values]
        named: list[Mapping[str, Any]] = [
            {**one, "label": class_of(one.get("label"), classes, f"{file}: {name}")} for one in labels
        ]
        yield image.relative_to(file.parent).as_posix(), named, None, None


def _images(file: Path) -> list[Path]:
    folder = file.parent / "data"
    if not folder.is_dir():
        raise UserError(f"{file}: no folder data/ beside it, expected the images there")
    return files_below(folder, *IMAGE_SUFFIXES)


def class_of(label: Any, classes: Any, where: str) -> Any:
    """A label, replaced by the name of the class if it is an index into the list of classes.

    Raises:
        UserError: the index is out of range.

    >>> class_of(1, ["cat", "dog"], "labels.json: a"), class_of("cow", None, "labels.json: a")
    ('dog', 'cow')
    """
    if not isinstance(label, int) or isinstance(label, bool) or not isinstance(classes, list):
        return label
    if not 0 <= label < len(classes):
        raise UserError(f"{where} has the label {label}, expected one of the {len(classes)} classes, counted from 0")
    return str(classes[label])


def _name(label: Mapping[str, Any]) -> str:
    name = label.get("label")
    if not isinstance(name, str) or not name:
        raise UserError(f"the label {name!r:.80}, expected the name of a class")
    return name


def corners_of(box: Any, size: tuple[int, int], where: str) -> Corners:
    """The corners of a box given as [x, y, width, height] in fractions of an image of ``size``.

    Raises:
        UserError: the box is not a list of such numbers.

    >>> corners_of([0.25, 0, 0.5, 1], (8, 4), "labels.json: a")
    (2.0, 0.0, 6.0, 4.0)
    """
    edges = box if isinstance(box, list) and len(box) == 4 else [None] * 4
    if not all(isinstance(edge, (int, float)) and not isinstance(edge, bool) for edge in edges) or min(edges[2:]) < 0:
        raise UserError(f"{where} has the bounding_box {box!r:.80}, expected [x, y, width, height] as fractions")
    x, y, width, height = (number(edge, f"{where}: an edge of bounding_box") for edge in edges)
    if max(abs(x), abs(y), width, height) > FARTHEST:
        raise UserError(
            f"{where} has the bounding_box {box}, expected fractions of the image, 0 to 1: divide x and width by its "
            "width, y and height by its height"
        )
    return x * size[0], y * size[1], (x + width) * size[0], (y + height) * size[1]
