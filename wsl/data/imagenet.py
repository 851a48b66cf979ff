"""ImageNet's localization data: ILSVRC's folders CLS-LOC, with synset ids as classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from wsl.boxes import Boxes
from wsl.data.folder import folder_names
from wsl.data.splits import unknown_split
from wsl.data.voc_xml import read_annotation
from wsl.documents import guarded, text_lines
from wsl.errors import UserError
from wsl.images.sources import images_below
from wsl.samples import Sample, SampleSet

_KIND = "CLS-LOC"
_NAMES = "LOC_synset_mapping.txt"


def imagenet_root(root: Path) -> Path | None:
    """The folder with ``Data/CLS-LOC``: this one, or ``ILSVRC`` in it.

    >>> imagenet_root(Path("no such folder")) is None
    True
    """
    return next((folder for folder in (root, root / "ILSVRC") if (folder / "Data" / _KIND).is_dir()), None)


def imagenet_splits(root: Path) -> tuple[str, ...]:
    """The folders of ``Data/CLS-LOC``.

    >>> imagenet_splits(Path("no such folder"))
    ()
    """
    base = imagenet_root(root)
    return () if base is None else folder_names(base / "Data" / _KIND)


@guarded("ILSVRC as it is unpacked")
def read_imagenet(root: str | Path, split: str | None) -> SampleSet:
    """The images, labels and boxes of a split of ILSVRC's localization task, as it is unpacked.

    Images lie in ``Data/CLS-LOC/<split>``, those of train in one folder per synset; boxes are in XML files under
    ``Annotations/CLS-LOC/<split>``, which most images of train lack. The classes are the lines of
    ``LOC_synset_mapping.txt`` (``n01440764 tench, Tinca tinca``), by their first name, or by synset if two have the
    same name; without the file, the synsets of train's folders. If train has folders for only some, these are the
    classes.

    The files are in VOC's format, but unlike VOC, ImageNet counts pixels from 0 and includes both corners: (xmin, ymin,
    xmax, ymax) becomes (xmin, ymin, xmax + 1, ymax + 1), clipped to the image.

    Args:
        root: ``ILSVRC``, or the folder that holds it.
        split: A folder of ``Data/CLS-LOC``: ``train``, ``val``.

    Raises:
        UserError: there is no such split or no synset folder; an image of val has no annotation; XML is malformed; the
            mapping lacks a synset.

    >>> read_imagenet("lost", "val")
    Traceback (most recent call last):
    wsl.errors.UserError: lost: no Data/CLS-LOC in it; expected ILSVRC as it is unpacked
    """
    base = imagenet_root(Path(root))
    if base is None:
        raise UserError(f"{root}: no Data/{_KIND} in it; expected ILSVRC as it is unpacked")
    images, annotations = base / "Data" / _KIND, base / "Annotations" / _KIND
    splits = folder_names(images)
    if split not in splits:
        raise unknown_split(split, splits, images)
    classes = synset_names(base)
    samples = []
    for path in map(Path, images_below(images / split)):
        id = path.relative_to(images / split).with_suffix("").as_posix()
        source = (annotations / split / id).with_suffix(".xml")
        named = path.parent.name if path.parent != images / split else None
        samples.append(_sample(path, id, source if source.is_file() else None, named, classes))
    if not samples:
        raise UserError(f"{images / split}: no image in it")
    return SampleSet(classes=tuple(classes.values()), samples=tuple(samples))


def _sample(path: Path, id: str, source: Path | None, folder: str | None, classes: Mapping[str, str]) -> Sample:
    """An image labelled by its folder (train), or by its annotated objects (val)."""
    if source is None and folder is None:
        raise UserError(f"{path}: no annotation, and no folder that names its synset; expected one of them")
    boxes, size = (None, None) if source is None else _boxes(source, classes)
    synsets = set() if folder is None else {folder}
    if not synsets <= classes.keys():
        raise UserError(f"{path}: the synset {folder!r} is not in {_NAMES}; known: {', '.join(list(classes)[:5])}, …")
    labels = {classes[name] for name in synsets} | set(() if boxes is None else boxes.labels)
    return Sample(
        path=path, id=id, labels=tuple(name for name in classes.values() if name in labels), boxes=boxes, size=size
    )


def _boxes(source: Path, classes: Mapping[str, str]) -> tuple[Boxes, tuple[int, int] | None]:
    annotation = read_annotation(source, first=0)
    unknown = next((name for name in annotation.boxes.labels if name not in classes), None)
    if unknown is not None:
        raise UserError(f"{source}: the synset {unknown!r} is not in {_NAMES}; expected one of its lines")
    return annotation.boxes, annotation.size


def synset_names(base: Path) -> dict[str, str]:
    """The class names by synset, in the order of the mapping, for the synsets with a folder in train.

    Raises:
        UserError: there is neither a mapping nor a folder, or the mapping lacks a folder.
    """
    images = base / "Data" / _KIND
    listed = next((folder / _NAMES for folder in (base, base.parent) if (folder / _NAMES).is_file()), None)
    present = folder_names(images / "train") if (images / "train").is_dir() else ()
    if listed is None:
        if not present:
            raise UserError(f"{images / 'train'}: no folder of a synset, and no {_NAMES}; expected one of them")
        return {name: name for name in present}
    lines = [text.strip().partition(" ") for _, text in text_lines(listed, "a synset and its names a line")]
    first = {synset: names.split(",")[0].strip() or synset for synset, _, names in lines}
    counts = Counter(first.values())
    classes = {synset: name if counts[name] == 1 else synset for synset, name in first.items()}
    missing = [name for name in present if name not in classes]
    if missing:
        raise UserError(f"{listed}: no line for the synset {missing[0]!r} of {images / 'train'}; expected one each")
    return {synset: classes[synset] for synset in classes if not present or synset in present}
