"""Training and validation images of a data set that has no splits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from wsl.samples import Sample, SampleSet


class Division(NamedTuple):
    """The images to train on and those to validate on, each in the order of the data set."""

    train: SampleSet
    val: SampleSet

    @property
    def unvalidated(self) -> tuple[str, ...]:
        """The classes that training images show and no validation image does."""
        shown = {label for sample in self.val.samples for label in sample.labels}
        trained = {label for sample in self.train.samples for label in sample.labels}
        return tuple(name for name in self.train.classes if name in trained - shown)


def divide(samples: SampleSet, fraction: float, seed: int, root: Path) -> Division:
    """Keep a fraction of the images of each class for validation, and at least one of each class for training.

    An image belongs to the rarest of its classes. Of each class, the images with the lowest hashes are kept: of the
    seed and the path below ``root``. The order of the images and the place of the folder do not matter, and an image
    that is added moves at most one other of its class from one side to the other (or a few, where it changes which of
    two classes is the rarer one).

    >>> samples = [Sample(path=f"photos/{i}.jpg", labels=[name]) for i, name in enumerate(["cat", "dog"] * 5 + ["cow"])]
    >>> parts = divide(SampleSet(classes=["cat", "cow", "dog"], samples=samples), 0.2, 0, Path("photos"))
    >>> [len(part) for part in parts], sorted(sample.labels for sample in parts.val.samples), parts.unvalidated
    ([9, 2], [('cat',), ('dog',)], ('cow',))
    """
    keys = [_key(sample, seed, root) for sample in samples.samples]
    counts = Counter(label for sample in samples.samples for label in sample.labels)
    groups: defaultdict[str | None, list[int]] = defaultdict(list)
    for i, sample in enumerate(samples.samples):
        groups[_rarest(sample, counts)].append(i)
    kept: set[int] = set()
    for members in groups.values():
        # Rounded half up: Python's own rounding to even numbers would make one image more move where one is added.
        wanted = min(max(1, int(len(members) * fraction + 0.5)), len(members) - 1)
        kept.update(sorted(members, key=keys.__getitem__)[:wanted])
    _give_back(samples.samples, keys, kept, counts)
    every = samples.samples
    return Division(
        train=SampleSet(classes=samples.classes, samples=tuple(one for i, one in enumerate(every) if i not in kept)),
        val=SampleSet(classes=samples.classes, samples=tuple(one for i, one in enumerate(every) if i in kept)),
    )


def _key(sample: Sample, seed: int, root: Path) -> bytes:
    below = sample.path.is_relative_to(root)
    name = sample.path.relative_to(root).as_posix() if below else sample.id
    # Systems store one name in different compositions.
    text = f"{seed}\0{unicodedata.normalize('NFC', name)}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _rarest(sample: Sample, counts: Mapping[str, int]) -> str | None:
    return min(sample.labels, key=lambda label: (counts[label], label), default=None)


def _give_back(samples: Sequence[Sample], keys: Sequence[bytes], kept: set[int], counts: Mapping[str, int]) -> None:
    """Return an image to training of each class that would have none: all of its images belong to rarer ones."""
    trained = {label for i, sample in enumerate(samples) if i not in kept for label in sample.labels}
    for label in sorted(set(counts) - trained):
        if label not in trained:
            last = max((i for i in kept if label in samples[i].labels), key=keys.__getitem__)
            kept.remove(last)
            trained.update(samples[last].labels)
