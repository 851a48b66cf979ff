"""YOLO's text files: one line per box, with the class number, then centre and sides as fractions of the image."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsl.documents import guarded, load_yaml, located, number, read_text
from wsl.errors import UserError
from wsl.files import write_text
from wsl.formats.exchange.labelled import Labelled, class_index, first_folder, number_of
from wsl.formats.exchange.parsing import FARTHEST, Corners, boxes_of, files_below, rows_of
from wsl.formats.exchange.voc import Stems
from wsl.images.sources import IMAGE_SUFFIXES
from wsl.split_names import role

Sizes = Callable[[Path], tuple[int, int]]


def write_yolo(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = False) -> Path:
    """Write ``labels/<image>.txt`` and ``data.yaml``, for images that are in ``images/`` or will be copied there.

    If all images are in folders of splits (``train/a.jpg``, ``valid/b.jpg``), ``data.yaml`` lists these folders;
    otherwise it lists all images for both training and validation. An image without boxes has an empty file, which
    trainers treat as background. With ``scores`` each line ends with a score, as in YOLO's own predictions; its
    trainers refuse such lines.

    Raises:
        UserError: a class is not listed, or two images would share a file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 1.0, (0, 2, 4, 6))])
    ...     _ = write_yolo([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     Path(folder, "labels", "a.txt").read_text(encoding="utf-8")
    '0 0.25 0.5 0.5 0.5\\n'
    """
    index = class_index(classes)
    stems, folders = Stems(".txt"), set[str]()
    for image in images:
        folders.add(first_folder(image.name))
        lines = []
        for label, score, (x0, y0, x1, y1) in rows_of(image.boxes):
            width, height = image.size
            figures = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
            line = [str(number_of(label, index, image.name)), *map(_plain, figures)]
            lines.append(" ".join([*line, f"{score:.9g}"] if scores else line) + "\n")
        write_text(out / "labels" / f"{stems.take(image)}.txt", "".join(lines))
    # JSON strings are valid YAML. No path is written, so that tools look beside the file itself.
    names = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for name, number in index.items())
    write_text(out / "data.yaml", f"{_split_lines(folders)}names:\n{names}")
    return out / "data.yaml"


def _split_lines(folders: Collection[str]) -> str:
    """The lines with the splits; if there is none for validation, which trainers require, that of training is used."""
    splits: defaultdict[str | None, list[str]] = defaultdict(list)
    for folder in sorted(folders):
        splits[role(folder)].append(f"images/{folder}")
    if not splits or None in splits:
        return "train: images\nval: images\n"
    train = splits.get("train") or next(iter(splits.values()))
    lines = {"train": train, "val": splits.get("val", train), **({"test": splits["test"]} if "test" in splits else {})}
    return "".join(f"{name}: {json.dumps(of) if len(of) > 1 else of[0]}\n" for name, of in lines.items())


def _plain(figure: float) -> str:
    """A fraction with nine digits and without an exponent, which datumaro does not parse as a number."""
    text = f"{figure:.9g}"
    return f"{figure:.13f}" if "e" in text else text


@guarded("YOLO's data.yaml, labels/ and images/")
def read_yolo(path: Path, sizes: Sizes, names: Path | None = None) -> Iterator[Labelled]:
    """Read the images and boxes of a folder with ``data.yaml``, ``labels/`` and ``images/``.

    ``sizes`` measures an image, and ``names`` is the ``data.yaml`` if it is elsewhere.

    Label files do not contain sizes in pixels, so the images must exist; an image without a label file has no boxes. In
    Roboflow's layout, with ``images`` and ``labels`` in the folder of each split, names are ``train/images/a.jpg``.

    Raises:
        UserError: there is no such folder, data.yaml does not name a class, or a line has another form.
    """
    root = path.parent if path.is_file() else path
    names = names or (path if path.is_file() else root / "data.yaml")
    parts = [] if (root / "images").is_dir() else sorted(part.parent for part in root.glob("*/images"))
    for part in parts:
        for image in read_yolo(part, sizes, names):
            yield replace(image, name=f"{part.name}/images/{image.name}", split=part.name)
    if parts:
        return
    classes = class_names(names)
    folder = root / "images"
    files = files_below(folder, *IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"{folder}: no images, expected those of labels/, because YOLO's files do not contain sizes")
    for file in files:
        name = file.relative_to(folder)
        labels = (root / "labels" / name).with_suffix(".txt")
        width, height = sizes(file)
        lines = read_text(labels, "YOLO labels").splitlines() if labels.is_file() else []
        rows = [
            _row(line, classes, (width, height), f"{labels}:{i}") for i, line in enumerate(lines, 1) if line.strip()
        ]
        with located(labels):
            yield Labelled(name=name.as_posix(), size=(width, height), boxes=boxes_of(rows))


def _row(line: str, names: dict[int, str], size: tuple[int, int], where: str) -> tuple[str, float, Corners]:
    fields = line.split()
    if len(fields) not in (5, 6) or class_number(fields[0]) not in names:
        raise UserError(f"{where}: {line[:80]!r}, expected a class number of data.yaml, x, y, width, height [, score]")
    score = number(fields[5], where) if len(fields) == 6 else 1.0
    return names[class_number(fields[0])], score, from_fractions(fields[1:5], size, where)


def class_number(field: str) -> int:
    """The number of a class in a line; -1 if it is not a number.

    >>> class_number("12"), class_number("dog")
    (12, -1)
    """
    return int(field) if field.isascii() and field.isdecimal() and len(field) < 10 else -1


def from_fractions(fields: Sequence[str], size: tuple[int, int], where: str) -> Corners:
    """The corners of a box given by its centre and sides in fractions of an image of ``size``.

    Raises:
        UserError: the values are not numbers, or out of range.

    >>> from_fractions(["0.5", "0.5", "1", "0.5"], (8, 4), "a.txt:1")
    (0.0, 1.0, 8.0, 3.0)
    """
    x, y, width, height = (number(field, where) for field in fields)
    if width < 0 or height < 0 or max(abs(x), abs(y), width, height) > FARTHEST:
        raise UserError(
            f"{where}: the box {x:g} {y:g} {width:g} {height:g} is not in fractions of the image, expected 0 to 1: "
            "divide x by its width and y by its height"
        )
    across, down = size
    return (x - width / 2) * across, (y - height / 2) * down, (x + width / 2) * across, (y + height / 2) * down


def class_names(file: Path) -> dict[int, str]:
    """The names of the classes by number, from a ``data.yaml``.

    Raises:
        UserError: the file cannot be read, is not YAML, or has no names.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "data.yaml")
    ...     _ = file.write_text("names: [cat, dog]", encoding="utf-8")
    ...     class_names(file)
    {0: 'cat', 1: 'dog'}
    """
    document: Any = load_yaml(file, "names: {0: cat, 1: dog}")
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise UserError(f"{file}: has no names of classes; expected names: {{0: cat, 1: dog}}")
    for key, name in names.items():
        if not isinstance(name, (str, int, float)) or isinstance(name, bool):
            raise UserError(f"{file}: the name of class {key} is {name!r:.80}, expected a text: put it in quotes")
    return {key: str(name) for key, name in names.items()}
