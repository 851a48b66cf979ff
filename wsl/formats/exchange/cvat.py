"""CVAT's XML for images, version 1.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wsl.documents import guarded, load_xml, located, number
from wsl.errors import UserError
from wsl.files import replacing
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import Corners, boxes_of, rows_of, turned, xml_bytes
from wsl.limits import stated_size

_EXPECTED = "CVAT for images 1.1 (annotations.xml)"
_EDGES = ("xtl", "ytl", "xbr", "ybr")


def write_cvat(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = False) -> Path:
    """Write ``annotations.xml``, for upload to a task with the same images and labels. Splits are CVAT's subsets.

    With ``scores`` a box has its score as an attribute named score, which the task's label must also have.

    Raises:
        UserError: a class is not listed, or a name cannot be written in XML.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 1.0, (0, 2, 4, 6))])
    ...     file = write_cvat([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     [found.boxes.xyxy.tolist() for found in read_cvat(file)]
    [[[0.0, 2.0, 4.0, 6.0]]]
    """
    index = class_index(classes)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in index:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    for i, image in enumerate(images):
        width, height = image.size
        about = {"id": str(i), "name": image.name, "width": str(width), "height": str(height)}
        element = ElementTree.SubElement(root, "image", {**about, "subset": image.split} if image.split else about)
        for label, score, xyxy in rows_of(image.boxes):
            number_of(label, index, image.name)
            edges = {field: f"{edge:.9g}" for field, edge in zip(_EDGES, xyxy, strict=True)}
            box = ElementTree.SubElement(
                element, "box", {"label": label, "source": "auto", "occluded": "0", **edges, "z_order": "0"}
            )
            if scores:
                ElementTree.SubElement(box, "attribute", name="score").text = f"{score:.9g}"
    path = out / "annotations.xml"
    with replacing(path) as temporary:
        temporary.write_bytes(xml_bytes(root))
    return path


@guarded(_EXPECTED)
def read_cvat(path: Path) -> Iterator[Labelled]:
    """Read the images, tags and boxes of an export "CVAT for images"; polygons and other shapes are left out.

    A rotated box is replaced by its bounds.

    Raises:
        UserError: the file has another format, or a box lacks its label or edges.
    """
    file = path / "annotations.xml" if path.is_dir() else path
    root = load_xml(file, _EXPECTED, "annotations")
    for element in root.iterfind("image"):
        name = element.get("name") or ""
        size = stated_size(element.get("width"), element.get("height"), f"{file}: {name}")
        with located(f"{file}: {name}"):
            rows = [_row(box, f"{file}: {name}") for box in element.iterfind("box")]
            tags = tuple(tag.get("label") for tag in element.iterfind("tag") if tag.get("label"))
            yield Labelled(name=name, size=size, boxes=boxes_of(rows), tags=tags, split=element.get("subset"))


def _row(box: Any, where: str) -> tuple[str, float, Corners]:
    label = box.get("label")
    if not label:
        raise UserError(f"{where}: a box has no label; expected {_EXPECTED}")
    x0, y0, x1, y1 = (number(box.get(edge), f"{where}: {edge} of {label}") for edge in _EDGES)
    angle = number(box.get("rotation") or 0, f"{where}: rotation of {label}")
    corners = turned((x0, y0, x1, y1), angle, ((x0 + x1) / 2, (y0 + y1) / 2))
    scores = [attribute.text for attribute in box.iterfind("attribute") if attribute.get("name") == "score"]
    return label, number(scores[0], f"{where}: score of {label}") if scores else 1.0, corners
