"""YOLO's text files: a line a box, the class's number, then centre and sides as fractions of the image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from wsl.errors import UserError
from wsl.files import write_text
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import boxes_of, files_below, number, read_text, rows_of
from wsl.formats.exchange.voc import Stems

Sizes = Callable[[Path], tuple[int, int]]
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def write_yolo(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = False) -> Path:
    """``labels/<image>.txt`` and ``data.yaml``, for images that lie (or are copied) in ``images/``.

    An image without a box has an empty file, which trainers take for background. With ``scores`` a line ends with
    one, as YOLO's own predictions do and its trainers refuse.

    Raises:
        UserError: a class that is not listed, or two images that would share a file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 1.0, (0, 2, 4, 6))])
    ...     _ = write_yolo([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     Path(folder, "labels", "a.txt").read_text(encoding="utf-8")
    '0 0.25 0.5 0.5 0.5\\n'
    """
    index = class_index(classes)
    stems = Stems(".txt")
    for image in images:
        lines = []
        for label, score, (x0, y0, x1, y1) in rows_of(image.boxes):
            width, height = image.size
            figures = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
            line = [str(number_of(label, index, image.name)), *map(_plain, figures)]
            lines.append(" ".join([*line, f"{score:.9g}"] if scores else line) + "\n")
        write_text(out / "labels" / f"{stems.take(image)}.txt", "".join(lines))
    # JSON's strings are YAML's, whatever is in them. No path: tools then look beside the file itself.
    names = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for name, number in index.items())
    write_text(out / "data.yaml", f"train: images\nval: images\nnames:\n{names}")
    return out / "data.yaml"


def _plain(figure: float) -> str:
    """A fraction in nine digits without an exponent, which datumaro takes for no number."""
    text = f"{figure:.9g}"
    return f"{figure:.13f}" if "e" in text else text


def read_yolo(path: Path, sizes: Sizes) -> Iterator[Labelled]:
    """The images and boxes of a folder with ``data.yaml``, ``labels/`` and ``images/``; ``sizes`` measures an image.

    The files know no pixels, so the images have to be there: one without a label file has no box.

    Raises:
        UserError: no such folder, a class that data.yaml does not name, or a line of another form.
    """
    root = path.parent if path.is_file() else path
    names = class_names(path if path.is_file() else root / "data.yaml")
    folder = root / "images"
    files = files_below(folder, *_IMAGES)
    if not files:
        raise UserError(f"{folder}: no images, expected those that labels/ is about: YOLO's files know no sizes")
    for file in files:
        name = file.relative_to(folder)
        labels = (root / "labels" / name).with_suffix(".txt")
        width, height = sizes(file)
        lines = read_text(labels, "YOLO labels").splitlines() if labels.is_file() else []
        rows = [_row(line, names, (width, height), f"{labels}:{i}") for i, line in enumerate(lines, 1) if line.strip()]
        yield Labelled(name=name.as_posix(), size=(width, height), boxes=boxes_of(rows))


def _row(
    line: str, names: dict[int, str], size: tuple[int, int], where: str
) -> tuple[str, float, tuple[float, float, float, float]]:
    fields = line.split()
    if len(fields) not in (5, 6) or not fields[0].isdecimal() or int(fields[0]) not in names:
        raise UserError(f"{where}: {line[:80]!r}, expected a class number of data.yaml, x, y, width, height [, score]")
    x, y, width, height, *score = (number(field, where) for field in fields[1:])
    across, down = size
    return (
        names[int(fields[0])],
        score[0] if score else 1.0,
        ((x - width / 2) * across, (y - height / 2) * down, (x + width / 2) * across, (y + height / 2) * down),
    )


def class_names(file: Path) -> dict[int, str]:
    """The names of classes by their number, from a ``data.yaml``.

    Raises:
        UserError: it cannot be read, is not YAML, or has no names.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "data.yaml")
    ...     _ = file.write_text("names: [cat, dog]", encoding="utf-8")
    ...     class_names(file)
    {0: 'cat', 1: 'dog'}
    """
    text = read_text(file, "YOLO's data.yaml")
    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(
            f"{file}: not YAML ({str(error).splitlines()[0]}); expected names: {{0: cat, 1: dog}}"
        ) from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(key, int) for key in names):
        raise UserError(f"{file}: has no names of classes; expected names: {{0: cat, 1: dog}}")
    return {key: str(name) for key, name in names.items()}
