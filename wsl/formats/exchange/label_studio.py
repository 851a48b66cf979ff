"""Label Studio's tasks with predictions: rectangles in percent of the image."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import boxes_of, files_below, load_json, number, rows_of, xml_bytes

_EXPECTED = "Label Studio's tasks with predictions or annotations"
_LOCAL = "/data/local-files/?d="
# Uploads are kept as /data/upload/<project>/<8 digits>-<name>.
_UPLOAD = re.compile(r"/?data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?(.+)")


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


def read_label_studio(
    path: Path, *, predictions: bool = False, sizes: Callable[[str], tuple[int, int] | None] | None = None
) -> Iterator[Labelled]:
    """The images and rectangles of exported tasks: of each task the annotations, or else the predictions.

    ``path`` is a file, or a folder of files with a task each. With ``predictions`` it is the other way round: the
    predictions, or else the annotations. An image has the name under which the local files storage, an upload, a bucket
    or a web server keeps it. A task without a rectangle says nothing of its image's size: ``sizes`` then gives it by
    the name, or None to leave the task out.

    Raises:
        UserError: not such a document, a rectangle without its numbers, or predictions of two models in a task.
    """
    for task in _tasks(path):
        data = task.get("data")
        url = data.get("image") if isinstance(data, dict) else None
        if not isinstance(url, str):
            raise UserError(f"{path}: a task has no data.image; expected {_EXPECTED}")
        name = _image_name(url)
        results = _rectangles(task, path, name, predictions=predictions)
        meta: Any = task.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        first: dict[str, Any] = results[0] if results else {}
        sides = [first.get(f"original_{side}", meta.get(side)) for side in ("width", "height")]
        if sizes is not None and None in sides:
            size = sizes(name)
            if size is None:
                continue
            sides = list(size)
        width, height = (
            int(number(value, f"{path}: {side} of {name}"))
            for side, value in zip(("width", "height"), sides, strict=True)
        )
        rows = [row for result in results for row in _rows(result, (width, height), path, name)]
        yield Labelled(name=name, size=(width, height), boxes=boxes_of(rows))


def _tasks(path: Path) -> Iterator[dict[str, Any]]:
    """The tasks of a file, or of all files in a folder, as its target storage keeps an annotation each."""
    for file in files_below(path, ".json") if path.is_dir() else [path]:
        document = load_json(file, _EXPECTED)
        single = isinstance(document, dict) and not {"data", "task"}.isdisjoint(document)
        tasks = [document] if single else document
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise UserError(f"{file}: not a list of tasks; expected {_EXPECTED}")
        for task in tasks:
            inner = task.get("task")
            yield {**inner, "annotations": [task]} if isinstance(inner, dict) and "result" in task else task


def _image_name(url: str) -> str:
    """The path of an image, by the address that Label Studio knows it by.

    >>> [_image_name(url) for url in (_LOCAL + "a/b%20c.jpg", "/data/upload/3/0a1b2c3d-b.jpg", "s3://photos/a/b.jpg")]
    ['a/b c.jpg', 'b.jpg', 'a/b.jpg']
    """
    if url.startswith(_LOCAL):
        return urllib.parse.unquote(url.removeprefix(_LOCAL))
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # no address
        return url
    path = urllib.parse.unquote(parts.path if len(parts.scheme) > 1 else url)  # C: is a drive
    upload = _UPLOAD.fullmatch(path)
    return upload[1] if upload else path.lstrip("/") if len(parts.scheme) > 1 else path


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


def _rectangles(task: dict[str, Any], path: Path, name: str, *, predictions: bool) -> list[dict[str, Any]]:
    fields = ("annotations", "predictions")
    for field in reversed(fields) if predictions else fields:
        entries = task.get(field)
        if isinstance(entries, list) and entries:
            entries = [entry for entry in entries if isinstance(entry, dict)]
            if not all(isinstance(entry.get("result"), list) for entry in entries):
                raise UserError(f"{path}: a task's {field} have no list of results; expected {_EXPECTED}")
            models = list(dict.fromkeys(str(entry.get("model_version")) for entry in entries))
            if predictions and len(models) > 1 and field == "predictions":
                raise UserError(
                    f"{path}: {name} has predictions of the models {models[0]} and {models[1]}, expected those of one: "
                    "remove the others"
                )
            # A result without a score of its own has that of its prediction, if there is one.
            scored = (
                {"score": entry.get("score"), **result} if entry.get("score") is not None else result
                for entry in entries
                for result in entry["result"]
                if isinstance(result, dict)
            )
            return [result for result in scored if result.get("type") == "rectanglelabels"]
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
