"""LabelMe's JSON: one file per image, with rectangles given by two corners."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from wsl.documents import guarded, load_json, located, number
from wsl.errors import UserError
from wsl.files import write_text
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import Corners, boxes_of, files_below, rows_of
from wsl.formats.exchange.voc import Stems
from wsl.limits import stated_size

_EXPECTED = "LabelMe's shapes, imagePath, imageWidth and imageHeight"


def write_labelme(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = False) -> Path:
    """Write ``<image>.json`` to the relative path of each image below ``out``, where LabelMe opens it with the image.

    With ``scores`` each shape has its score as its description.

    Raises:
        UserError: a class is not listed, or two images would share a file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 1.0, (0, 2, 4, 6))])
    ...     _ = write_labelme([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     [found.boxes.labels for found in read_labelme(Path(folder))]
    [('dog',)]
    """
    index = class_index(classes)
    stems = Stems(".json")
    for image in images:
        shapes: list[dict[str, Any]] = []
        for label, score, (x0, y0, x1, y1) in rows_of(image.boxes):
            number_of(label, index, image.name)
            shapes.append(
                {
                    "label": label,
                    "points": [[x0, y0], [x1, y1]],
                    "group_id": None,
                    "description": f"{score:.9g}" if scores else "",
                    "shape_type": "rectangle",
                    "flags": {},
                    "mask": None,
                }
            )
        document: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": PurePosixPath(image.name).name,
            "imageData": None,
            "imageHeight": image.size[1],
            "imageWidth": image.size[0],
        }
        write_text(out / f"{stems.take(image)}.json", json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    return out


@guarded(_EXPECTED)
def read_labelme(path: Path) -> Iterator[Labelled]:
    """Read the images and rectangles of a folder of LabelMe's files, sorted by name.

    Other shapes are replaced by their bounds; points are left out because they have none.

    The score of a shape is its ``score``, which tools that label with a model write, or a number in its description. Of
    an image outside the folder only the file name is kept.

    Raises:
        UserError: there is no such file, or a shape lacks its label or points.
    """
    files = files_below(path, ".json") if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path}: no .json file in it, expected {_EXPECTED}")
    root = path if path.is_dir() else path.parent
    for file in files:
        document = load_json(file, _EXPECTED)
        if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
            raise UserError(f"{file}: has no list of shapes; expected {_EXPECTED}")
        size = stated_size(document.get("imageWidth"), document.get("imageHeight"), str(file))
        image = PurePosixPath(str(document.get("imagePath") or f"{file.stem}.jpg").replace("\\", "/"))
        if ".." in image.parts or image.is_absolute() or "".join(image.parts[:1])[1:2] == ":":
            image = PurePosixPath(image.name)
        folder = PurePosixPath(file.relative_to(root).as_posix()).parent
        with located(file):
            rows = [_row(shape, file) for shape in document["shapes"] if not _is_point(shape)]
            yield Labelled(name=str(folder / image), size=size, boxes=boxes_of(rows))


def is_labelme(file: Path) -> bool:
    """Whether a JSON file is one of LabelMe's; only its beginning is read, because such files may be long.

    >>> is_labelme(Path("lost.json"))
    False
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(1 << 16)
    except OSError:
        return False
    return b'"shapes"' in start or b'"imagePath"' in start


def _row(shape: Any, file: Path) -> tuple[str, float, Corners]:
    points = shape.get("points") if isinstance(shape, dict) else None
    label = shape.get("label") if isinstance(shape, dict) else None
    if not isinstance(label, str) or not isinstance(points, list) or len(points) < 2:
        raise UserError(f"{file}: a shape has no label or fewer than two points; expected {_EXPECTED}")
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise UserError(f"{file}: {label} has the points {points!r:.80}, expected [[x, y], [x, y]]")
    xs, ys = ([number(point[axis], f"{file}: a point of {label}") for point in points] for axis in (0, 1))
    return label, _score(shape, f"{file}: score of {label}"), _bounds(shape.get("shape_type"), xs, ys)


def _is_point(shape: Any) -> bool:
    return isinstance(shape, dict) and shape.get("shape_type") in ("point", "points")


def _bounds(kind: object, xs: list[float], ys: list[float]) -> Corners:
    if kind == "circle":  # its centre and a point on it
        radius = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        return xs[0] - radius, ys[0] - radius, xs[0] + radius, ys[0] + radius
    far = 1 if kind == "mask" else 0  # the corners of a mask are its first and last pixels
    return min(xs), min(ys), max(xs) + far, max(ys) + far


def _score(shape: dict[str, Any], what: str) -> float:
    if shape.get("score") is not None:
        return number(shape["score"], what)
    try:
        return number(shape.get("description") or 1.0, what)
    except UserError:
        return 1.0  # the description is ordinary text
