"""Data sets in the layout of Pascal VOC: ImageSets/Main, Annotations, JPEGImages."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wsl.data.splits import unknown_split
from wsl.data.voc_download import download_voc
from wsl.data.voc_xml import Annotation, object_names, read_annotation
from wsl.documents import guarded
from wsl.errors import UserError
from wsl.files import is_left_over
from wsl.images.sources import images_below, inside, require_files
from wsl.samples import Sample, SampleSet

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
    *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes of Pascal VOC, in the order of every VOC result table."""


@guarded("a data set in VOC layout")
def read_voc(
    root: str | Path,
    split: str | None,
    year: str | None = None,
    download: bool = False,
    *,
    classes: Sequence[str] | None = None,
) -> SampleSet:
    """The images, labels and boxes of one split of a data set in VOC's layout.

    An image's labels are the classes with an object that is not difficult; classes with only difficult objects are
    ignored. The labels of images without an annotation file (the test sets) come from the lists
    ``<class>_<split>.txt``, and they have no boxes.

    The classes are the first of: ``classes``; ``labels.txt`` or ``classes.txt`` beside ``Annotations`` (or in
    ``root``); VOC's 20 if no object has another name; the names in *all* annotations, sorted, so that they agree for
    every split of a data set.

    Boxes that extend outside their image are clipped, with one warning for the split. The mask of an image is taken
    from ``SegmentationClass`` or ``SegmentationClassAug`` if it is known which classes its numbers mean: VOC's 20, or
    other classes in the order of ``labels.txt`` or ``classes.txt``, from 1.

    Args:
        root: VOCdevkit, a folder that contains it, or the folder of one year.
        split: The name of a list in ImageSets/Main, without ``.txt``.
        year: The year, if there are several (``2012`` or ``VOC2012``).
        download: First download VOC 2007 or 2012 into ``root``, unless it exists.
        classes: The class names and their order.

    Raises:
        UserError: there is no such folder, year or split; an image or annotation is missing or malformed; an object has
            an unknown class; an image id leads outside the folder.
        RunError: the download failed.

    >>> read_voc("lost", "val")
    Traceback (most recent call last):
    wsl.errors.UserError: lost: no such folder; expected a data set in VOC layout (VOCdevkit or VOCdevkit/VOC2012)
    """
    root = Path(root)
    if download:
        download_voc(root, year, split)
    folder = find_voc(root, year)
    ids = _read_ids(folder, split)
    split = str(split)
    list_file = f"ImageSets/Main/{split}.txt"
    images = _image_paths(folder, ids, list_file)
    require_files(images, list_file)
    sources = [inside(folder / "Annotations", f"{name}.xml", list_file) for name in ids]
    annotations = [read_annotation(path) if path.is_file() else None for path in sources]
    _warn_adjusted(annotations, folder)

    lists: Mapping[str, Mapping[str, int]] = {}
    if None in annotations:
        lists = _class_lists(folder, split)
        _require_labels(ids, images, sources, annotations, lists)
    found = {label for annotation in annotations if annotation for label in annotation.boxes.labels} | lists.keys()
    listed = _listed_names(root, folder)
    names = tuple(classes) if classes is not None else listed or _class_names(folder, split, found)
    samples = []
    for name, path, source, annotation in zip(ids, images, sources, annotations, strict=True):
        if annotation is None:
            samples.append(_sample_from_lists(name, path, lists))
        else:
            samples.append(_sample_from_xml(name, path, annotation, source, names))
    # Masks number the classes in this order, except that those of VOC's own classes always follow its order.
    if names == VOC_CLASSES or (names == listed and not set(names) <= set(VOC_CLASSES)):
        samples = [replace(sample, mask=_mask(folder, sample.id, list_file)) for sample in samples]
    return SampleSet(classes=names, samples=tuple(samples))


def find_voc(root: Path, year: str | None = None) -> Path:
    """The folder of one year (the one that holds ImageSets and JPEGImages) in or under ``root``.

    Raises:
        UserError: there is no such folder, or there are several and no year is given.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected a data set in VOC layout (VOCdevkit or VOCdevkit/VOC2012)")
    wanted = None if year is None else f"VOC{year.removeprefix('VOC')}"
    found = voc_folders(root)
    if found == [root]:
        name = root.resolve().name
        if wanted and name != wanted and name.startswith("VOC2"):
            raise UserError(f"{root} is {name}, not {wanted}: give that year's folder or leave the year out")
        return root
    if wanted:
        found = [path for path in found if path.name == wanted]
    if len(found) > 1:
        listing = ", ".join(path.relative_to(root).as_posix() for path in found)
        raise UserError(f"{root} holds several data sets ({listing}): choose one with its year or its own folder")
    if not found:
        raise UserError(
            f"{root}: no data set {wanted or 'in VOC layout'} there; expected ImageSets/Main and JPEGImages in it, in "
            f"{wanted or 'VOC2012'} or in VOCdevkit/{wanted or 'VOC2012'}"
        )
    return found[0]


def voc_folders(root: Path) -> list[Path]:
    """``root`` itself if it is in VOC's layout, else the folders in it and in its VOCdevkit that are."""
    if _is_voc(root):
        return [root]
    return sorted(path for pattern in ("*", "VOCdevkit/*") for path in root.glob(pattern) if _is_voc(path))


def voc_splits(root: Path, year: str | None = None) -> tuple[str, ...]:
    """The names of the lists in ImageSets/Main, without those of single classes.

    Raises:
        UserError: as for `find_voc`.
    """
    names = (path.stem for path in _lists(find_voc(root, year)))
    return tuple(name for name in names if name.rpartition("_")[0] not in VOC_CLASSES)


def _is_voc(folder: Path) -> bool:
    return (folder / "ImageSets" / "Main").is_dir() and (folder / "JPEGImages").is_dir()


def _read_ids(folder: Path, split: str | None) -> list[str]:
    lists = {path.stem for path in _lists(folder)}
    if split is None or split not in lists:
        splits = [name for name in lists if not any(name.endswith(f"_{other}") for other in lists)]
        raise unknown_split(split, splits, folder)
    lines = _read_lines(folder / "ImageSets" / "Main" / f"{split}.txt")
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise UserError(f"{folder}: ImageSets/Main/{split}.txt lists no image; expected one image id a line")
    return ids


def _lists(folder: Path) -> list[Path]:
    paths = (folder / "ImageSets" / "Main").glob("*.txt")
    return sorted(path for path in paths if not is_left_over(path.name))


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a text file in UTF-8") from error


def _image_paths(folder: Path, ids: Iterable[str], list_file: str) -> list[Path]:
    """The file of each id: ``.jpg`` as in VOC, or any other image suffix of a custom data set."""
    images = folder / "JPEGImages"
    paths = [inside(images, f"{name}.jpg", list_file) for name in ids]
    if all(path.is_file() for path in paths):
        return paths
    others = {Path(file).relative_to(images).with_suffix(""): Path(file) for file in images_below(images)}
    return [path if path.is_file() else others.get(path.relative_to(images).with_suffix(""), path) for path in paths]


def _warn_adjusted(annotations: Sequence[Annotation | None], folder: Path) -> None:
    adjusted = sum(annotation.adjusted for annotation in annotations if annotation)
    if adjusted:
        boxes = sum(len(annotation.boxes) for annotation in annotations if annotation)
        warnings.warn(
            f"{folder}: {adjusted} of {boxes} boxes reached outside their image and were clipped or dropped; VOC "
            "coordinates run from 1 to the image's width and height",
            stacklevel=4,
        )


def _class_lists(folder: Path, split: str) -> dict[str, dict[str, int]]:
    """``<class>_<split>.txt`` by class: image id to 1, 0 (only difficult) or -1. Other lists are ignored."""
    lists: dict[str, dict[str, int]] = {}
    for path in _lists(folder):
        name = path.stem.removesuffix(f"_{split}")
        if name == path.stem:
            continue
        rows = [line.rsplit(None, 1) for line in _read_lines(path) if line.strip()]
        if all(len(row) == 2 and row[1] in ("1", "0", "-1") for row in rows):
            lists[name] = {row[0].strip(): int(row[1]) for row in rows}
    return lists


def _require_labels(
    ids: Sequence[str],
    images: Sequence[Path],
    sources: Sequence[Path],
    annotations: Sequence[Annotation | None],
    lists: Mapping[str, Mapping[str, int]],
) -> None:
    for name, image, source, annotation in zip(ids, images, sources, annotations, strict=True):
        if annotation is None and not any(name in flags for flags in lists.values()):
            raise UserError(
                f"{image} has no annotation: expected {source}, or its labels in ImageSets/Main/<class>_<split>.txt"
            )


def _listed_names(root: Path, folder: Path) -> tuple[str, ...]:
    """The classes in the order of ``labels.txt`` or ``classes.txt``; empty without such a file."""
    for path in (place / name for place in (folder, root) for name in ("labels.txt", "classes.txt")):
        if path.is_file():
            return tuple(line.strip() for line in _read_lines(path) if line.strip())
    return ()


def _class_names(folder: Path, split: str, found: set[str]) -> tuple[str, ...]:
    main = folder / "ImageSets" / "Main"
    official = all((main / f"{name}_{split}.txt").is_file() for name in VOC_CLASSES)
    if not (official and found.issubset(VOC_CLASSES)):
        # Another split may have other classes, and the order of the score vector must not depend on the split.
        for path in sorted((folder / "Annotations").glob("**/*.xml")):
            if not any(map(is_left_over, path.relative_to(folder).parts)):
                found = found | object_names(path)
    return VOC_CLASSES if found.issubset(VOC_CLASSES) else tuple(sorted(found))


def _mask(folder: Path, name: str, list_file: str) -> Path | None:
    paths = (
        inside(folder / masks, f"{name}.png", list_file) for masks in ("SegmentationClass", "SegmentationClassAug")
    )
    return next((path for path in paths if path.is_file()), None)


def _sample_from_lists(name: str, path: Path, lists: Mapping[str, Mapping[str, int]]) -> Sample:
    labels = [label for label, flags in lists.items() if flags.get(name) == 1]
    ignored = [label for label, flags in lists.items() if flags.get(name) == 0]
    return Sample(path=path, id=name, labels=tuple(labels), ignored=tuple(ignored))


def _sample_from_xml(name: str, path: Path, annotation: Annotation, source: Path, names: Sequence[str]) -> Sample:
    boxes = annotation.boxes
    unknown = sorted(set(boxes.labels).difference(names))
    if unknown:
        raise UserError(f"{source}: an object of the unknown class {unknown[0]!r}; known: {', '.join(names[:40])}")
    clear = {label for label, hard in zip(boxes.labels, boxes.difficult, strict=True) if not hard}
    return Sample(
        path=path,
        id=name,
        labels=tuple(label for label in names if label in clear),
        ignored=tuple(label for label in names if label in boxes.labels and label not in clear),
        boxes=boxes,
        size=annotation.size,
    )
