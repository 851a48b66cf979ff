"""Pascal VOC's XML: one file per image, with pixels counted from 1 and inclusive corners."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np

from wsl.documents import flag, guarded, load_xml, located, number, read_text
from wsl.errors import UserError
from wsl.files import caseless, replacing, write_text
from wsl.formats.exchange.labelled import Labelled, class_index, number_of
from wsl.formats.exchange.parsing import Corners, boxes_of, files_below, rows_of, xml_bytes
from wsl.limits import stated_size
from wsl.split_names import WHOLE, role, split_file

_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,3}")
_ROOT = re.compile(rb"<annotation[\s>]")
_EXPECTED = "a VOC annotation"
LISTS = "ImageSets/Main/<split>.txt"
"""Path of the list of a split's images below an output folder."""
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def write_voc(images: Iterable[Labelled], out: Path, classes: Sequence[str], *, scores: bool = False) -> Path:
    """Write ``Annotations/<image>.xml`` and ``ImageSets/Main/<split>.txt``, for VOC's tools and torchvision.

    The lists are ``train.txt``, ``val.txt`` and ``test.txt``, by the splits of the images, and ``all.txt`` for those
    without.

    ``labelmap.txt`` lists the classes for datumaro and CVAT, which without it know only those of VOC. It is left out if
    it cannot represent a name: one with a colon, a leading # or blanks at an end.

    Coordinates are rounded to whole pixels, and a box has a side of at least one pixel. With ``scores`` an object has a
    ``<score>``, which is not part of VOC's format and is ignored by its tools.

    Raises:
        UserError: a class is not listed, two images would share a file, or a name cannot be represented in XML or in
            VOC's list of images.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dog = boxes_of([("dog", 1.0, (0.2, 2, 4, 6))])
    ...     _ = write_voc([Labelled(name="a.jpg", size=(8, 8), boxes=dog)], Path(folder), ["dog"])
    ...     [found.boxes.xyxy.tolist() for found in read_voc(Path(folder))]
    [[[0.0, 2.0, 4.0, 6.0]]]
    """
    index = class_index(classes)
    folder = out / "Annotations"
    stems, lists = Stems(".xml"), dict[str, list[str]]()
    for image in images:
        stem = stems.take(image)
        if stem != stem.strip() or len(stem.splitlines()) != 1:
            raise UserError(f"{image.name!r} has blanks that VOC's list of images cannot represent: rename the file")
        with replacing(folder / f"{stem}.xml") as temporary:
            temporary.write_bytes(xml_bytes(_annotation(image, index, scores=scores)))
        lists.setdefault(split_file(image.split), []).append(stem)
    for split, names in (lists or {WHOLE: []}).items():
        write_text(out / LISTS.replace("<split>", split), "".join(f"{stem}\n" for stem in names))
    if not any(":" in name or name != name.strip() or name.startswith("#") or not name for name in classes):
        labels = dict.fromkeys(("background", *classes))
        write_text(out / "labelmap.txt", "".join(f"{name}:::\n" for name in labels))
    return folder


@guarded(_EXPECTED)
def read_voc(path: Path) -> Iterator[Labelled]:
    """Read the images and boxes of a folder of VOC XML files (or of the ``Annotations`` in it), sorted by name.

    An image has the name of its XML file, as in VOC's own tools. Only the suffix of ``<filename>`` is used, because it
    often names another file. Its split is that of the shortest list in ``ImageSets/Main`` that names it, among those of
    training, validation and test.

    Raises:
        UserError: there is no such file, a file is not VOC's XML, or an object lacks its name or box.
    """
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = files_below(folder, ".xml")
    if not files:
        raise UserError(f"{path}: no .xml file in it, expected VOC annotations")
    splits = _splits(folder.parent / "ImageSets" / "Main")
    for file in files:
        name = PurePosixPath(file.relative_to(folder).as_posix())
        yield replace(_read(file, name.parent), split=splits.get(str(name.with_suffix(""))))


def _splits(folder: Path) -> dict[str, str]:
    """The split of each image in the lists of a folder."""
    files = (file for file in sorted(folder.glob("*.txt")) if role(file.stem) is not None)
    lists = [(file.stem, read_text(file, "a list of images").split("\n")) for file in files]
    lists.sort(key=lambda one: -len(one[1]))  # train and val after trainval, which they overrule
    return {stem.strip(): split for split, stems in lists for stem in stems}


def is_voc(file: Path) -> bool:
    """Whether an XML file is one of VOC's, by its root element; only its beginning is read.

    >>> is_voc(Path("lost.xml"))
    False
    """
    try:
        with file.open("rb") as opened:
            return _ROOT.search(opened.read(1 << 12)) is not None
    except OSError:
        return False


class Stems:
    """The names of the files that belong to images, one per image, never shared by two images.

    >>> from wsl.boxes import Boxes
    >>> Stems(".xml").take(Labelled(name="cats/a.jpg", size=(4, 2), boxes=Boxes.empty()))
    'cats/a'
    """

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.taken: dict[str, str] = {}
        self._folded: dict[str, str] = {}

    def take(self, image: Labelled) -> str:
        """Reserve the stem of an image.

        Raises:
            UserError: another image has the same stem, or one that differs only in case or Unicode composition.
        """
        other = self._folded.get(caseless(image.stem))
        if other is not None:
            raise UserError(f"{other} and {image.name} would both become {image.stem}{self.suffix}: rename one of them")
        self._folded[caseless(image.stem)] = self.taken[image.stem] = image.name
        return image.stem


def _annotation(image: Labelled, index: dict[str, int], *, scores: bool) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    path = PurePosixPath(image.name)
    _add(root, "folder", str(path.parent) if path.parent.name else "")
    _add(root, "filename", path.name)
    size = _add(root, "size")
    for field, value in zip(("width", "height", "depth"), (*image.size, 3), strict=True):
        _add(size, field, value)
    _add(root, "segmented", 0)
    for (label, score, xyxy), difficult in zip(rows_of(image.boxes), image.boxes.difficult.tolist(), strict=True):
        number_of(label, index, image.name)
        element = _add(root, "object")
        fields = {"name": label, "pose": "Unspecified", "truncated": 0, "difficult": int(difficult)}
        for field, text in fields.items():
            _add(element, field, text)
        box = _add(element, "bndbox")
        for field, edge in zip(_EDGES, _whole(xyxy, image.size), strict=True):
            _add(box, field, edge)
        if scores:
            _add(element, "score", repr(score))
    return root


def _whole(xyxy: Corners, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Edges rounded to whole pixels inside the image, at least one pixel apart, in VOC's convention."""
    x0, x1 = _edges(xyxy[0], xyxy[2], size[0])
    y0, y1 = _edges(xyxy[1], xyxy[3], size[1])
    return x0 + 1, y0 + 1, x1, y1


def _edges(low: float, high: float, side: int) -> tuple[int, int]:
    first = min(max(round(low), 0), side - 1)
    return first, min(max(round(high), first + 1), side)


def _add(parent: ElementTree.Element, name: str, text: object = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = None if text is None else str(text)
    return element


def _read(file: Path, folder: PurePosixPath) -> Labelled:
    root = load_xml(file, _EXPECTED, "annotation")
    size = stated_size(root.findtext("size/width"), root.findtext("size/height"), str(file))
    rows, difficult = [], []
    for element in root.iterfind("object"):
        label = element.findtext("name") or ""
        if not label.strip():
            raise UserError(f"{file}: an object has no <name>, expected the name of its class")
        x0, y0, x1, y1 = _box(element, file)
        score = number(element.findtext("score", "1"), f"{file}: score of {label}")
        rows.append((label, score, (x0 - 1, y0 - 1, x1, y1)))
        difficult.append(flag(element.findtext("difficult"), f"{file}: difficult of {label}"))
    with located(file):
        boxes = replace(boxes_of(rows), difficult=np.array(difficult, np.bool_))
        return Labelled(name=str(folder / _image_name(root, file)), size=size, boxes=boxes)


def _image_name(root: Any, file: Path) -> str:
    named = PurePosixPath((root.findtext("filename") or "").strip().replace("\\", "/"))
    if named.stem == file.stem:
        return named.name
    return file.stem + (named.suffix if _SUFFIX.fullmatch(named.suffix) else ".jpg")


def _box(element: Any, file: Path) -> Corners:
    x0, y0, x1, y1 = (number(element.findtext(f"bndbox/{edge}"), f"{file}: {edge}") for edge in _EDGES)
    return x0, y0, x1, y1
