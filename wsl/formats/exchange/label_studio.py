"""Label Studio's tasks with predictions: rectangles in percent of the image."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import boxes_of, load_json, number, rows_of, xml_bytes

_EXPECTED = "Label Studio's tasks with predictions or annotations"
_LOCAL = "/data/local-files/?d="


def write_label_studio(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = True) -> Path:
    """``tasks.json`` to import, and ``labelling.xml``, the project's labelling interface.

    Images are named as Label Studio serves them from its local files storage: set
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` to the folder that holds them.

    Raises:
        UserError: a class that is not listed, or one that XML cannot write.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 0.5, (0, 2, 4, 6))])
    ...     file = write_label_studio([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     [found.boxes.scores.tolist() for found in read_label_studio(file)]
    [[0.5]]
    """
    index = class_index(classes)
    interface = ElementTree.Element("View")
    ElementTree.SubElement(interface, "Image", name="image", value="$image")
    rectangles = ElementTree.SubElement(interface, "RectangleLabels", name="label", toName="image")
    for name in index:
        ElementTree.SubElement(rectangles, "Label", value=name)
    with replacing(out / "labelling.xml") as temporary:
        temporary.write_bytes(xml_bytes(interface, declared=False))  # it is pasted into a form
    path = out / "tasks.json"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for i, image in enumerate(images):
            results = []
            for number_in_image, (label, score, xyxy) in enumerate(rows_of(image.boxes)):
                number_of(label, index, image.name)
                results.append(_result(image, f"{i}-{number_in_image}", label, score if scores else None, xyxy))
            prediction = {"model_version": "wsl-toolkit", "result": results}
            if scores and results:
                prediction["score"] = max(image.boxes.scores.tolist())
            task = {"data": {"image": _LOCAL + urllib.parse.quote(image.name)}, "predictions": [prediction]}
            # The size travels along where no box carries it.
            task["meta"] = {"width": image.size[0], "height": image.size[1]}
            file.write((",\n" if i else "\n") + json.dumps(task, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n")
    return path


def read_label_studio(path: Path) -> Iterator[Labelled]:
    """The images and rectangles of exported tasks: of each task the annotations, or else the predictions.

    Raises:
        UserError: not such a document, or a rectangle without its numbers.
    """
    document = load_json(path, _EXPECTED)
    if not isinstance(document, list) or not all(isinstance(task, dict) for task in document):
        raise UserError(f"{path}: not a list of tasks; expected {_EXPECTED}")
    for task in document:
        data = task.get("data")
        url = data.get("image") if isinstance(data, dict) else None
        if not isinstance(url, str):
            raise UserError(f"{path}: a task has no data.image; expected {_EXPECTED}")
        name = urllib.parse.unquote(url.removeprefix(_LOCAL))
        results = _rectangles(task, path)
        meta = task.get("meta") if isinstance(task.get("meta"), dict) else {}
        first: dict[str, Any] = results[0] if results else {}
        width, height = (
            int(number(first.get(f"original_{side}", meta.get(side)), f"{path}: {side} of {name}"))
            for side in ("width", "height")
        )
        rows = [row for result in results for row in _rows(result, (width, height), path, name)]
        yield Labelled(name=name, size=(width, height), boxes=boxes_of(rows))


def _result(
    image: Labelled, key: str, label: str, score: float | None, xyxy: tuple[float, float, float, float]
) -> dict[str, Any]:
    width, height = image.size
    x0, y0, x1, y1 = xyxy
    result = {
        "id": key,
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": 100 * x0 / width,
            "y": 100 * y0 / height,
            "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height,
            "rotation": 0,
            "rectanglelabels": [label],
        },
    }
    return result if score is None else {**result, "score": score}


def _rectangles(task: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    for field in ("annotations", "predictions"):
        entries = task.get(field)
        if isinstance(entries, list) and entries:
            found = [entry.get("result") for entry in entries if isinstance(entry, dict)]
            if not all(isinstance(results, list) for results in found):
                raise UserError(f"{path}: a task's {field} have no list of results; expected {_EXPECTED}")
            flat = [result for results in found for result in results or []]
            return [r for r in flat if isinstance(r, dict) and r.get("type") == "rectanglelabels"]
    return []


def _rows(
    result: dict[str, Any], size: tuple[int, int], path: Path, name: str
) -> Iterator[tuple[str, float, tuple[float, float, float, float]]]:
    value = result.get("value")
    labels = value.get("rectanglelabels") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(labels, list):
        raise UserError(f"{path}: a rectangle of {name} has no value with rectanglelabels; expected {_EXPECTED}")
    if number(value.get("rotation", 0), f"{path}: rotation of {name}"):
        raise UserError(f"{path}: a rectangle of {name} is rotated, expected upright boxes: set its rotation to 0")
    fields = ("x", "y", "width", "height")
    x, y, width, height = (number(value.get(field), f"{path}: {field} of {name}") / 100 for field in fields)
    score = number(result.get("score", 1.0), f"{path}: score of {name}")
    for label in labels:
        yield str(label), score, (x * size[0], y * size[1], (x + width) * size[0], (y + height) * size[1])
