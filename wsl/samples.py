"""Images with their annotations: labels, and boxes, masks and outlines if there are any."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.places import Place, absolute, fold, real, same_name, without_suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The pixels of one object: ``runs`` are run lengths (`wsl.run_lengths`) for the size of its image.

    ``ignored`` marks crowds, and boxes of objects without an outline: their pixels are neither right nor wrong.

    >>> Outline(label="dog", runs=b"021").ignored
    False
    """

    label: str
    runs: bytes
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with its annotations.

    ``labels`` are the classes present, ``ignored`` those whose objects are all difficult (neither positive nor
    negative). ``negatives`` are the classes verified to be absent, with all others unknown; None means that every class
    that is neither present nor ignored is absent. ``boxes`` are used only for evaluation, and None if they are not
    annotated; an empty ``Boxes`` means that the image was annotated and has none. ``not_exhaustive`` are classes that
    may have objects without a box. ``size`` is the (width, height) in the annotation. ``object_masks`` are files that
    are not 0 on an object of the image's only class, ``ignore_mask`` is a file that is not 0 on ignored pixels.
    ``mask`` is one file for all classes: 0 is background, i the i-th class of the set, 255 ignored (`wsl.masks` reads
    them). ``outlines`` are single objects in an image of known ``size``; None if there are none. ``number`` is the
    image's position in the order of ids, if the annotation has ids (COCO).

    >>> Sample(path="photos/a.jpg", labels=["dog"]).id
    'a'
    """

    path: Path
    labels: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    negatives: tuple[str, ...] | None = None
    boxes: Boxes | None = None
    not_exhaustive: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    object_masks: tuple[Path, ...] = ()
    ignore_mask: Path | None = None
    mask: Path | None = None
    outlines: tuple[Outline, ...] | None = None
    number: int | None = None
    id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "ignored", tuple(self.ignored))
        object.__setattr__(self, "not_exhaustive", tuple(self.not_exhaustive))
        if self.negatives is not None:
            object.__setattr__(self, "negatives", tuple(self.negatives))
            both = sorted({*self.negatives} & {*self.labels, *self.ignored})
            if both:
                raise UserError(f"{self.path}: {both[0]!r} is absent, and present or ignored: expected one of them")
        if not self.id:
            object.__setattr__(self, "id", self.path.stem)

    def unknown(self, classes: Iterable[str]) -> frozenset[str]:
        """The classes of which it is unknown whether the image shows them; they are neither positive nor negative.

        >>> sorted(Sample(path="a.jpg", labels=["dog"], ignored=["cow"]).unknown(["cat", "cow", "dog"]))
        ['cow']
        >>> sorted(Sample(path="a.jpg", labels=["dog"], negatives=["cat"]).unknown(["cat", "cow", "dog"]))
        ['cow']
        """
        if self.negatives is None:
            return frozenset(self.ignored).difference(self.labels)
        return frozenset(classes).union(self.ignored).difference(self.labels, self.negatives)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """Samples, and the class names in the order of the score vector.

    >>> SampleSet(classes=["cat", "dog"], samples=[Sample(path="a.jpg", labels=["dog"])]).classes
    ('cat', 'dog')
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "samples", tuple(self.samples))
        known = set(self.classes)
        if len(known) != len(self.classes):
            raise UserError("a class name is listed twice: expected distinct names")
        for sample in self.samples:
            named = (*sample.labels, *sample.ignored, *(sample.negatives or ()), *sample.not_exhaustive)
            if not known.issuperset(named):
                unknown = sorted({*named} - known)
                raise UserError(f"{sample.path}: unknown class {unknown[0]!r}; known: {', '.join(self.classes[:40])}")

    def __len__(self) -> int:
        return len(self.samples)


class SampleIndex:
    """The samples of a set by the paths of their images, for finding the annotation of an image.

    `match` applies three rules, in this order:

    1. **The same file**: equal absolute paths, or, if the file exists, equal paths with all links resolved.
    2. **The id**: the path is the id of exactly one sample (``2007_000033``, ``val/0.jpeg``); the suffix may be missing
       on either side.
    3. **The same name**: the path ends in the name of the sample, which is its path below the deepest folder that holds
       all images of the set, or its id if that has more folders: ``camA/0000.png``. The suffix may be missing or differ
       in case; it may be a different one if the sample's id has none. Folders that the path does not contain, as in a
       bare ``0000.png``, are not compared. Of several samples, the one that shares the most trailing parts with the
       path is taken, and of these the one with exactly the same file name.

    The folders above the name are the root, which differs if a data set has been moved or copied. It also differs
    between two splits that use the same file names. A missing annotation is reported but a wrong one would not be
    noticed, so rule 3 does not apply

    * if the folder directly above the name differs and is a sibling of the other (``coco/camA/1.png`` and
      ``coco/camB/1.png``) or lies above or below it (``coco/1.png`` and ``coco/night/1.png``): these are two folders in
      one place, while ``old/photos/1.png`` and ``new/images/1.png`` may be one folder in two places;
    * if differing folders name different splits (``train/images`` and ``valid/images``) or years (``VOC2007`` and
      ``VOC2012``), at any level.

    Names are compared in Unicode's composed form, and without case if `os.path.normcase` folds it. The disk is only
    read for existing files that the text of their path does not identify, and then once for all samples.

    Raises:
        UserError: two samples have the same image.

    >>> samples = [Sample(path=f"coco/val/{camera}/0000.png") for camera in ("camA", "camB")]
    >>> index = SampleIndex(SampleSet(classes=[], samples=samples))
    >>> index.match("/old/root/val/camB/0000.png").path.as_posix()
    'coco/val/camB/0000.png'
    >>> index.match("coco/train/camB/0000.png") is None
    True
    """

    def __init__(self, samples: SampleSet) -> None:
        self._samples = samples.samples
        self._by_file: dict[str, Sample] = {}
        self._by_id: defaultdict[str, list[Sample]] = defaultdict(list)
        self._by_bare_id: defaultdict[str, list[Sample]] = defaultdict(list)
        # By file name, and by file name with the folders of the sample's name: frames of many videos share file names.
        self._by_file_name: defaultdict[str, list[_Entry]] = defaultdict(list)
        self._by_name: defaultdict[tuple[str, ...], list[_Entry]] = defaultdict(list)
        root = _common_depth(samples)
        for sample in samples.samples:
            other = self._by_file.setdefault(absolute(sample.path), sample)
            if other is not sample:
                raise UserError(
                    f"{sample.path} is the image of two samples, {other.id!r} and {sample.id!r}: expected each image "
                    "once, merge or remove one of them"
                )
            self._by_id[sample.id].append(sample)
            self._by_bare_id[without_suffix(sample.id)].append(sample)
            entry = _entry(sample, root)
            for name in {fold(sample.path.name), fold(sample.path.stem), fold(entry.last)}:
                self._by_file_name[name].append(entry)
                self._by_name[*entry.place.last(entry.depth), name].append(entry)
        self._depths = {entry.depth for entries in self._by_name.values() for entry in entries}

    def match(self, path: str | Path) -> Sample | None:
        """The sample whose image the path names, or None.

        Raises:
            UserError: the path fits two samples equally well.
        """
        path = Path(path)
        certain = self._same_file(path) or self._of_id(path.as_posix())
        if certain is not None:
            return certain
        ranked = sorted(self._candidates(path), key=lambda one: one[:2], reverse=True)
        if len(ranked) > 1 and ranked[0][:2] == ranked[1][:2]:
            raise UserError(
                f"{path} fits {ranked[0][2].path} and {ranked[1][2].path} equally well: expected a path with the "
                "folders that tell the images apart, such as the one in the data set"
            )
        return ranked[0][2] if ranked else None

    def _same_file(self, path: Path) -> Sample | None:
        sample = self._by_file.get(absolute(path))
        if sample is None and (file := real(path)) is not None:
            sample = self._by_real_file.get(file)
        return sample

    @functools.cached_property
    def _by_real_file(self) -> dict[str, Sample]:
        """The samples by path with links resolved, without those that are links to the same file."""
        files: defaultdict[str | None, list[Sample]] = defaultdict(list)
        for sample in self._samples:
            files[real(sample.path)].append(sample)
        return {file: samples[0] for file, samples in files.items() if file is not None and len(samples) == 1}

    def _of_id(self, name: str) -> Sample | None:
        ways = (self._by_id.get(name), self._by_bare_id.get(name), self._by_id.get(without_suffix(name)))
        return next((samples[0] for samples in ways if samples is not None and len(samples) == 1), None)

    def _candidates(self, path: Path) -> Iterator[tuple[int, int, Sample]]:
        """For each sample that fits: the number of common trailing parts, the closeness of file names, the sample."""
        place = Place.of(path)
        entries: list[_Entry] = []
        for name in (fold(path.name), fold(without_suffix(path.name))):
            for depth in self._depths:
                if depth <= place.shown:
                    entries += self._by_name.get((*place.last(depth), name), ())
            if max(self._depths, default=0) > place.shown:
                entries += (entry for entry in self._by_file_name.get(name, ()) if entry.depth > place.shown)
        for entry in {id(entry): entry for entry in entries}.values():
            closeness = _closeness(path, entry)
            if closeness is not None and not place.contradicts(entry.place, entry.depth):
                yield place.common(entry.place), closeness, entry.sample


class _Entry(NamedTuple):
    """A sample, its place, the number of its folders that belong to its name, and the last part of its id."""

    sample: Sample
    place: Place
    depth: int
    last: str


def _entry(sample: Sample, root: int) -> _Entry:
    place = Place.of(sample.path)
    *folders, last = sample.id.split("/")
    below = Place(tuple(map(fold, folders)), len(folders))
    named = len(folders) if below.common(place) == len(folders) else 0  # an id need not be the end of its path
    return _Entry(sample, place, max(len(place.folders) - root, named), last)


def _common_depth(samples: SampleSet) -> int:
    """The number of folders, from the root down, that all images of a set have in common."""
    paths = [Place.of(folder / "image").folders for folder in {sample.path.parent for sample in samples.samples}]
    shortest = min(map(len, paths), default=0)
    return next((i for i in range(shortest) if len({path[i] for path in paths}) > 1), shortest)


def _closeness(path: Path, entry: _Entry) -> int | None:
    """2 for the same file name, 1 for another spelling, 0 for a missing or different suffix, None for another name."""
    names = (entry.sample.path.name, entry.last)
    if path.name in names:
        return 2
    if fold(path.name) in map(fold, names):
        return 1
    bare = without_suffix(path.name)
    return 0 if same_name(path.name, entry.sample.path.stem) or same_name(bare, entry.last) else None
