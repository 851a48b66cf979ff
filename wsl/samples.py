"""Images with what is known of them: the labels, and the boxes where somebody drew them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsl.boxes import Boxes
from wsl.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The pixels of one object: ``runs`` are run lengths (`wsl.run_lengths`) for the size of its image.

    ``unsure`` are crowds, and boxes of objects that nobody outlined: their class is there, but where is not known.

    >>> Outline(label="dog", runs=b"021").unsure
    False
    """

    label: str
    runs: bytes
    unsure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with its labels; boxes are known only where an annotation gives them.

    ``labels`` are the classes present, ``ignored`` those whose objects are all difficult (neither positive nor
    negative). ``boxes`` serve evaluation only and are None where nobody annotated them; an empty ``Boxes``
    says that somebody looked and found none. ``size`` is (width, height) as the annotation gives it.
    ``object_masks`` are files that are not 0 where an object of the image's one class is, ``ignore_mask`` one that is
    not 0 where nobody is sure. ``mask`` is one file for all classes: 0 is background, i the i-th class of the set, 255
    nobody is sure (`wsl.masks` reads them). ``outlines`` are objects one by one, in an image of known ``size``; None
    where nobody drew any.

    >>> Sample(path="photos/a.jpg", labels=["dog"]).id
    'a'
    """

    path: Path
    labels: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    boxes: Boxes | None = None
    size: tuple[int, int] | None = None
    object_masks: tuple[Path, ...] = ()
    ignore_mask: Path | None = None
    mask: Path | None = None
    outlines: tuple[Outline, ...] | None = None
    id: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "ignored", tuple(self.ignored))
        if not self.id:
            object.__setattr__(self, "id", self.path.stem)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """Samples and the class names, in the order of the score vector.

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
            if not known.issuperset(sample.labels) or not known.issuperset(sample.ignored):
                unknown = sorted({*sample.labels, *sample.ignored} - known)
                raise UserError(f"{sample.path}: unknown class {unknown[0]!r}; known: {', '.join(self.classes[:40])}")

    def __len__(self) -> int:
        return len(self.samples)
