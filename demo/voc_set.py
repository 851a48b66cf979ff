"""Write canvases as a data set in the layout of Pascal VOC, with ground-truth boxes for the evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from canvases import CLASSES, SIDE, Canvas
from PIL import Image

from wsl.files import write_text
from wsl.progress import track


def write_voc(folder: Path, split: str, canvases: Iterable[Canvas], count: int) -> None:
    """Write the canvases of a split: images, annotations, and then the lists of their names.

    Training reads only the class names of the annotations, not their boxes.

    >>> import tempfile
    >>> from canvases import draw_canvases, read_scans
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_voc(Path(name), "val", draw_canvases(read_scans(), 2, seed=(0,)), 2)
    ...     sorted(path.relative_to(name).as_posix() for path in Path(name).rglob("*.*"))[:2]
    ['Annotations/val-0001.xml', 'Annotations/val-0002.xml']
    """
    for part in ("JPEGImages", "Annotations"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    names = []
    for number, canvas in enumerate(track(canvases, f"draw {split}", count), 1):
        name = f"{split}-{number:04d}"
        Image.fromarray(canvas.pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=92, subsampling=0)
        (folder / "Annotations" / f"{name}.xml").write_text(_annotation(name, canvas), encoding="utf-8")
        names.append(name)
    write_text(folder / "labels.txt", "\n".join(CLASSES) + "\n")
    write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names) + "\n")


def _annotation(name: str, canvas: Canvas) -> str:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for side, value in (("width", SIDE), ("height", SIDE), ("depth", 3)):
        ElementTree.SubElement(size, side).text = str(value)
    for digit in canvas.digits:
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = digit.label
        ElementTree.SubElement(element, "difficult").text = "0"
        x0, y0, x1, y1 = digit.box
        box = ElementTree.SubElement(element, "bndbox")
        # VOC coordinates are 1-based and inclusive.
        for edge, value in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            ElementTree.SubElement(box, edge).text = str(value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
