"""Data sets as the metadata lists of the WSOL benchmark: CUB, ILSVRC, OpenImages and whatever is listed like them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsl.boxes import Boxes
from wsl.data.splits import unknown_split
from wsl.documents import guarded
from wsl.errors import UserError
from wsl.images.sources import inside, require_files
from wsl.limits import stated_size
from wsl.samples import Sample, SampleSet

IDS, LABELS, SIZES, PLACES = "image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"
Box = tuple[float, float, float, float]
Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class _Places:
    """What ``localization.txt`` says, by image id: boxes, or masks and the mask of the pixels to ignore."""

    boxes: Mapping[str, Sequence[Box]]
    masks: Mapping[str, Sequence[str]]
    ignored: Mapping[str, str]


@guarded("metadata lists of the WSOL benchmark")
def read_wsol(
    root: str | Path, split: str | None, image_root: str | Path | None = None, *, images: bool = True
) -> SampleSet:
    """The images, labels, boxes and masks of one split of a data set given by the benchmark's metadata lists.

    A split is a folder with ``image_ids.txt`` (an image's path a line, which is its id), ``class_labels.txt``
    (``path,number``), and where they are known ``image_sizes.txt`` (``path,width,height``) and ``localization.txt``:
    ``path,x0,y0,x1,y1`` in pixels, a line a box; or ``path,mask path,ignore path``, a line a mask, whose ignore path
    may be empty. Classes are named by their numbers, or by the lines of ``classes.txt`` or ``labels.txt`` in the root.

    The benchmark compares corners as they stand, as pixels from 0 that belong to the box: half-open, the far ones are 1
    more. It does not clip them, and nor does this.

    Args:
        root: The folder of the splits' folders, or one split's own.
        split: Its name; None or ``all`` where root is one split's own.
        image_root: The folder that the paths are relative to. None looks beside the lists, in ``images`` there and
            in ``dataset/<name>`` two folders up, where the benchmark keeps them.
        images: Whether the image files are needed; without, none has to be there.

    Raises:
        UserError: no such folder or split; a malformed line, named by its number; an image listed twice, without a
            label, or named by another list only; a path that leaves its folder; images missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, line in ((IDS, "a.jpg"), (LABELS, "a.jpg,7"), (SIZES, "a.jpg,9,6"), (PLACES, "a.jpg,1,2,5,6")):
    ...         _ = Path(folder, name).write_text(line, encoding="utf-8")
    ...     sample = read_wsol(folder, "all", images=False).samples[0]
    >>> sample.id, sample.labels, sample.size, sample.boxes.xyxy.tolist()
    ('a.jpg', ('7',), (9, 6), [[1.0, 2.0, 6.0, 7.0]])
    """
    root = Path(root)
    folder = _split_folder(root, split)
    ids = _read_ids(folder / IDS)
    labels = _read_labels(folder / LABELS, ids)
    sizes = _read_sizes(folder / SIZES, ids)
    places = _read_places(folder / PLACES, ids)
    if places.boxes and not sizes:
        raise UserError(f"{folder / SIZES}: no such file; expected the sizes of the images, since boxes are in pixels")
    where = Path(image_root) if image_root is not None else _find_images(root, ids[0])
    classes = _class_names(root, labels)
    paths = {name: inside(where, name, IDS) for name in ids}
    if images:
        require_files(paths.values(), f"{folder / IDS}")
    samples = (
        Sample(
            path=paths[name],
            id=name,
            labels=(classes[labels[name]],),
            boxes=_boxes(places.boxes.get(name, ()), classes[labels[name]]) if places.boxes else None,
            size=sizes.get(name),
            object_masks=tuple(inside(where, mask, PLACES) for mask in places.masks.get(name, ())),
            ignore_mask=inside(where, places.ignored[name], PLACES) if name in places.ignored else None,
        )
        for name in ids
    )
    return SampleSet(classes=tuple(classes.values()), samples=tuple(samples))


def is_wsol(root: Path) -> bool:
    """Whether a folder has the lists of splits, or of one.

    >>> is_wsol(Path("no such folder"))
    False
    """
    return (root / IDS).is_file() or bool(wsol_splits(root))


def wsol_splits(root: Path) -> dict[str, Path]:
    """The folders with ``image_ids.txt`` in a folder, by name.

    >>> wsol_splits(Path("no such folder"))
    {}
    """
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{IDS}"))}


def _split_folder(root: Path, split: str | None) -> Path:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected one with <split>/{IDS}")
    if (root / IDS).is_file():
        if split in (None, "all", root.resolve().name):
            return root
        raise unknown_split(split, [root.resolve().name, "all"], root)
    splits = wsol_splits(root)
    if split not in splits:
        raise unknown_split(split, splits, root)
    return splits[str(split)]


def _lines(path: Path) -> list[Line]:
    """Numbered lines that are not empty; none where the file is missing."""
    try:
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a text file in UTF-8") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _read_ids(path: Path) -> list[str]:
    first: dict[str, int] = {}
    for number, name in _lines(path):
        if name in first:
            raise UserError(f"{path}:{number}: {name!r} stands on line {first[name]} too; expected each image once")
        first[name] = number
    if not first:
        raise UserError(f"{path}: lists no image; expected one path a line")
    return list(first)


def _rows(path: Path, known: Sequence[str], form: str) -> Iterator[tuple[str, str, list[str]]]:
    """Each line's place, its image and its other cells, as many as the ``form`` has; paths may hold commas."""
    ids, cells = frozenset(known), form.count(",")
    for number, line in _lines(path):
        name, *values = line.rsplit(",", cells)
        if len(values) != cells:
            raise UserError(f"{path}:{number}: {line!r}, expected {form}")
        if name not in ids:
            raise UserError(f"{path}:{number}: {name!r} is not among the images of {IDS}; expected one of these")
        yield f"{path}:{number}", name, values


def _read_labels(path: Path, ids: Sequence[str]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for where, name, (label,) in _rows(path, ids, "path,label"):
        if not _is_number(label):
            raise UserError(f"{where}: the label {label!r}, expected the number of a class, from 0 on")
        if name in labels:
            raise UserError(f"{where}: a second label of {name!r}; expected one an image")
        labels[name] = int(label)
    missing = [name for name in ids if name not in labels]
    if missing:
        raise UserError(f"{path}: no label of {missing[0]!r} ({len(missing)} missing); expected a line path,label")
    return labels


def _read_sizes(path: Path, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    for where, name, (width, height) in _rows(path, ids, "path,width,height"):
        if name in sizes:
            raise UserError(f"{where}: a second size of {name!r}; expected one an image")
        sizes[name] = stated_size(width, height, where)
    missing = [name for name in ids if name not in sizes]
    if sizes and missing:
        raise UserError(f"{path}: no size of {missing[0]!r} ({len(missing)} missing); expected path,width,height")
    return sizes


def _read_places(path: Path, ids: Sequence[str]) -> _Places:
    lines = _lines(path)
    if lines and _numbers(lines[0][1].rsplit(",", 4)[1:]) is None:
        return _read_masks(path, ids)
    boxes: defaultdict[str, list[Box]] = defaultdict(list)
    for where, name, cells in _rows(path, ids, "path,x0,y0,x1,y1"):
        box = _numbers(cells)
        if box is None:
            raise UserError(
                f"{where}: the box {','.join(cells)}, expected the numbers x0,y0,x1,y1 as in the first line"
            )
        if box[2] < box[0] or box[3] < box[1]:
            raise UserError(f"{where}: the inverted box {','.join(cells)}, expected x0 <= x1 and y0 <= y1")
        boxes[name].append(box)
    _require_all(path, ids, boxes, "box")
    return _Places(boxes, {}, {})


def _read_masks(path: Path, ids: Sequence[str]) -> _Places:
    masks: defaultdict[str, list[str]] = defaultdict(list)
    ignored: dict[str, str] = {}
    for where, name, (mask, ignore) in _rows(path, ids, "path,mask path,ignore path"):
        if ignore and ignored.setdefault(name, ignore) != ignore:
            raise UserError(f"{where}: a second ignore path of {name!r}; expected one an image, on each of its lines")
        masks[name].append(mask)
    _require_all(path, ids, masks, "mask")
    return _Places({}, masks, ignored)


def _require_all(path: Path, ids: Sequence[str], found: Mapping[str, object], what: str) -> None:
    missing = [name for name in ids if name not in found]
    if found and missing:
        raise UserError(f"{path}: no {what} of {missing[0]!r} ({len(missing)} missing); expected one or more an image")


def _is_number(cell: str) -> bool:
    return cell.strip().isascii() and cell.strip().isdigit() and len(cell.strip()) < 10


def _numbers(cells: Sequence[str]) -> Box | None:
    try:
        x0, y0, x1, y1 = map(float, cells)
    except ValueError:
        return None
    return (x0, y0, x1, y1) if all(map(math.isfinite, (x0, y0, x1, y1))) else None


def _find_images(root: Path, first: str) -> Path:
    """The folder in which the first image lies; the lists' own when it lies nowhere."""
    whole = root.resolve()
    # metadata/CUB/test/image_ids.txt goes with dataset/CUB in the benchmark's own repository.
    beside = [up.parent.parent / "dataset" / up.name for up in (whole, whole.parent)]
    places = (root, root / "images", root.parent, root.parent / "images", *beside)
    return next((place for place in places if inside(place, first, IDS).is_file()), root)


def _class_names(root: Path, labels: Mapping[str, int]) -> dict[int, str]:
    """The name of each class by its number, in the order of the numbers."""
    for path in (root / name for name in ("classes.txt", "labels.txt")):
        if path.is_file():
            names = dict(enumerate(line for _, line in _lines(path)))
            if max(labels.values()) not in names:
                raise UserError(
                    f"{path}: names {len(names)} classes, expected a line for each number up to {max(labels.values())}"
                )
            return names
    numbers = set(labels.values())
    # Those of all splits, so that the order of the score vector does not depend on the split.
    for path in root.glob(f"*/{LABELS}"):
        cells = (line.rsplit(",", 1)[-1].strip() for _, line in _lines(path))
        numbers |= {int(cell) for cell in cells if _is_number(cell)}
    return {number: str(number) for number in sorted(numbers)}


def _boxes(corners: Sequence[Box], label: str) -> Boxes:
    inclusive = np.array(corners, np.float32).reshape(-1, 4)
    half_open = inclusive + np.array([0, 0, 1, 1], np.float32)
    return Boxes(xyxy=half_open, labels=(label,) * len(corners))
