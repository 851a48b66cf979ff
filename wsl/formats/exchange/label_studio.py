"""Label Studio's tasks with predictions or annotations: rectangles in percent of the image."""

from __future__ import annotations

import json
import logging
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wsl.documents import flag, guarded, load_json, located, number
from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import FARTHEST, Corners, boxes_of, files_below, rows_of, turned, xml_bytes
from wsl.images.archives import is_image_file
from wsl.images.sources import inside
from wsl.limits import stated_size

log = logging.getLogger("wsl")
Measure = Callable[[str], tuple[int, int] | None]

_EXPECTED = "Label Studio's tasks with predictions or annotations"
_LOCAL = "/data/local-files/?d="
# Uploads are kept as /data/upload/<project>/<8 digits>-<name>.
_UPLOAD = re.compile(r"/?data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?(.+)")


def measured_in(folders: Iterable[Path], sizes: Callable[[Path], tuple[int, int] | None]) -> Measure:
    """A function that measures an image by its name, in the first folder that contains it and never outside them.

    >>> measured_in([Path("images")], lambda file: (8, 6))("../secret.jpg") is None
    True
    """
    folders = tuple(folders)

    def measure(name: str) -> tuple[int, int] | None:
        try:
            files = [inside(folder, name, "a task") for folder in folders]
        except UserError:
            return None
        file = next((file for file in files if is_image_file(file)), None)
        return None if file is None else sizes(file)

    return measure


def write_label_studio(
    images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = True, folder: str = "images"
) -> Path:
    """Write ``tasks.json`` for import, and ``labelling.xml``, the labelling interface of the project.

    Images have the addresses under which Label Studio serves them from its local files storage: ``folder``, the folder
    of the images, is the storage, and its parent is ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT`` (Label Studio refuses
    the same folder for both).

    Raises:
        UserError: a class is not listed, or cannot be written in XML.

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
        temporary.write_bytes(xml_bytes(interface, declared=False))  # users paste it into a form
    path = out / "tasks.json"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for i, image in enumerate(images):
            results = []
            for number_in_image, (label, score, xyxy) in enumerate(rows_of(image.boxes)):
                number_of(label, index, image.name)
                results.append(rectangle(image.size, f"{i}-{number_in_image}", label, score if scores else None, xyxy))
            prediction = {"model_version": "wsl-toolkit", "result": results}
            if scores and results:
                prediction["score"] = max(image.boxes.scores.tolist())
            url = _LOCAL + urllib.parse.quote(f"{folder}/{image.name}")
            task: dict[str, Any] = {"data": {"image": url}, "predictions": [prediction]}
            # Store the size for images without boxes, and the name because the address has an additional folder.
            task["meta"] = {"width": image.size[0], "height": image.size[1], "name": image.name}
            file.write((",\n" if i else "\n") + json.dumps(task, ensure_ascii=False, allow_nan=False))
        file.write("\n]\n")
    return path


@guarded(_EXPECTED)
def read_label_studio(path: Path, *, predictions: bool = False, sizes: Measure | None = None) -> Iterator[Labelled]:
    """Read the images, choices and rectangles of exported tasks: the annotations of each task, or else its predictions.

    ``path`` is a file, or a folder of files with one task each. With ``predictions`` the predictions are read, or else
    the annotations. The name of an image is its path in the local files storage, upload folder, bucket or web server. A
    rotated rectangle is replaced by its bounds, and cancelled annotations are ignored.

    A task with predictions but no annotation is not ``reviewed``; tasks with neither are left out. A task without
    results does not contain the size of its image: ``sizes`` then gives it by the name, or None to leave out the task.
    What is left out is logged as one warning.

    Raises:
        UserError: the document has another format, a rectangle lacks its numbers, or with ``predictions`` a task has
            predictions of two models.
    """
    left: list[str] = []
    for task in _tasks(path):
        data = task.get("data")
        url = data.get("image") if isinstance(data, dict) else None
        if not isinstance(url, str):
            raise UserError(f"{path}: a task has no data.image; expected {_EXPECTED}")
        name = own_name(task, image_name(url))
        results, reviewed = _results(task, path, name, predictions=predictions)
        size = None if results is None else _size(task, results, sizes, path, name)
        if results is None or size is None:
            left.append(name)
            continue
        with located(f"{path}: {name}"):
            rows = [row for result in rectangles(results) for row in _rows(result, size, path, name)]
            tags = _choices(results, f"{path}: {name}")
            yield Labelled(name=name, size=size, boxes=boxes_of(rows), tags=tags, reviewed=reviewed)
    if left:
        log.warning("%s: %d tasks without annotations or of unknown size left out, %s first", path, len(left), left[0])


def _size(
    task: Mapping[str, Any], results: Sequence[Mapping[str, Any]], sizes: Measure | None, path: Path, name: str
) -> tuple[int, int] | None:
    """The size of a task's image, from its results, its meta or ``sizes``."""
    for record in (*results, task.get("meta")):
        fields = ("original_width", "original_height") if record in results else ("width", "height")
        if isinstance(record, dict) and all(record.get(field) is not None for field in fields):
            return stated_size(record[fields[0]], record[fields[1]], f"{path}: {name}")
    return None if sizes is None else sizes(name)


def _tasks(path: Path) -> Iterator[dict[str, Any]]:
    """The tasks of a file, or of a folder of files with one annotation each, as in Label Studio's target storage."""
    for file in files_below(path, ".json") if path.is_dir() else [path]:
        document = load_json(file, _EXPECTED)
        single = isinstance(document, dict) and not {"data", "task"}.isdisjoint(document)
        tasks = [document] if single else document
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise UserError(f"{file}: not a list of tasks; expected {_EXPECTED}")
        for task in tasks:
            inner = task.get("task")
            yield {**inner, "annotations": [task]} if isinstance(inner, dict) and "result" in task else task


def image_name(url: str) -> str:
    """The path of an image, from its address in Label Studio.

    >>> [image_name(url) for url in (_LOCAL + "a/b%20c.jpg", "/data/upload/3/0a1b2c3d-b.jpg", "s3://photos/a/b.jpg")]
    ['a/b c.jpg', 'b.jpg', 'a/b.jpg']
    """
    if url.startswith(_LOCAL):
        return urllib.parse.unquote(url.removeprefix(_LOCAL))
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # not an address
        return url
    path = urllib.parse.unquote(parts.path if len(parts.scheme) > 1 else url)  # a scheme of one letter is a drive
    upload = _UPLOAD.fullmatch(path)
    return upload[1] if upload else path.lstrip("/") if len(parts.scheme) > 1 else path


def own_name(task: Mapping[str, Any], name: str) -> str:
    """The name that `write_label_studio` stored with an image, or else ``name``, the name in its address.

    >>> own_name({"meta": {"name": "cats/a.jpg"}}, "photos/cats/a.jpg"), own_name({}, "photos/cats/a.jpg")
    ('cats/a.jpg', 'photos/cats/a.jpg')
    """
    meta = task.get("meta")
    own = meta.get("name") if isinstance(meta, dict) else None
    return own if isinstance(own, str) and f"/{name}".endswith(f"/{own}") else name


def rectangle(size: tuple[int, int], key: str, label: str, score: float | None, xyxy: Corners) -> dict[str, Any]:
    """The result for one box in an image of the given size.

    >>> rectangle((8, 4), "0", "dog", None, (2, 1, 4, 2))["value"]["width"]
    25.0
    """
    width, height = size
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


def _results(
    task: Mapping[str, Any], path: Path, name: str, *, predictions: bool
) -> tuple[list[dict[str, Any]] | None, bool]:
    """The results of a task's annotations or predictions (None without any), and whether they are annotations."""
    fields = ("annotations", "predictions")
    for field in reversed(fields) if predictions else fields:
        entries = task.get(field)
        entries = [one for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
        entries = [one for one in entries if not flag(one.get("was_cancelled"), f"{path}: was_cancelled of {name}")]
        if not entries:
            continue
        if not all(isinstance(entry.get("result"), list) for entry in entries):
            raise UserError(f"{path}: a task's {field} have no list of results; expected {_EXPECTED}")
        models = list(dict.fromkeys(str(entry.get("model_version")) for entry in entries))
        if predictions and len(models) > 1 and field == "predictions":
            raise UserError(
                f"{path}: {name} has predictions of the models {models[0]} and {models[1]}, expected those of one: "
                "remove the others"
            )
        # A result without a score gets that of its prediction, if there is one.
        results = [
            {"score": entry.get("score"), **result} if entry.get("score") is not None else result
            for entry in entries
            for result in entry["result"]
            if isinstance(result, dict)
        ]
        return results, field == "annotations"
    return None, False


def _choices(results: Sequence[Mapping[str, Any]], where: str) -> tuple[str, ...]:
    """The labels of the image as a whole: choices in results that have no rectangle."""
    found: list[str] = []
    for result in results:
        value = result.get("value")
        if result.get("type") != "choices" or not isinstance(value, dict) or "rectanglelabels" in value or "x" in value:
            continue
        choices = value.get("choices")
        if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
            raise UserError(f"{where}: the choices {choices!r:.80}, expected a list of names")
        found += choices
    return tuple(dict.fromkeys(found))


def rectangles(results: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rectangles with their labels, which are separate results if the labelling interface has separate controls.

    >>> apart = [{"id": "1", "type": "rectangle", "value": {"x": 0}}]
    >>> apart += [{"id": "1", "type": "labels", "value": {"labels": ["dog"]}}]
    >>> list(rectangles(apart))
    [{'id': '1', 'type': 'rectangle', 'value': {'x': 0, 'rectanglelabels': ['dog']}}]
    """
    named = {
        str(result.get("id")): result["value"]["labels"]
        for result in results
        if result.get("type") == "labels" and isinstance(result.get("value"), dict) and "labels" in result["value"]
    }
    for result in results:
        if result.get("type") == "rectanglelabels":
            yield result
        elif result.get("type") == "rectangle" and isinstance(value := result.get("value"), dict):
            labels = value.get("labels", named.get(str(result.get("id"))))
            yield {**result, "value": {**value, "rectanglelabels": labels}}


def _rows(
    result: Mapping[str, Any], size: tuple[int, int], path: Path, name: str
) -> Iterator[tuple[str, float, Corners]]:
    value = result.get("value")
    labels = value.get("rectanglelabels") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(labels, list):
        raise UserError(f"{path}: a rectangle of {name} has no value with rectanglelabels; expected {_EXPECTED}")
    if number(result.get("image_rotation") or 0, f"{path}: image_rotation of {name}") % 360:
        raise UserError(f"{path}: {name} was rotated for annotation, expected boxes of the image without rotation")
    fields = ("x", "y", "width", "height")
    x, y, width, height = (number(value.get(field), f"{path}: {field} of {name}") / 100 for field in fields)
    if width < 0 or height < 0 or max(abs(x), abs(y), width, height) > FARTHEST:
        raise UserError(f"{path}: {name} has the rectangle {value!r:.120}, expected percents of the image, 0 to 100")
    angle = number(value.get("rotation") or 0, f"{path}: rotation of {name}")
    corners = x * size[0], y * size[1], (x + width) * size[0], (y + height) * size[1]
    score = number(result.get("score", 1.0), f"{path}: score of {name}")
    for label in labels:
        yield str(label), score, turned(corners, angle, about=corners[:2])
