"""Common names of the splits of a data set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

_TRAINING = ("train", "training", "trainval", "train_val")
VALIDATION = ("val", "valid", "validation", "dev")
"""Names of the validation split, the most common first."""
_TEST = ("test", "testing")
WHOLE = "all"
"""The name of the one split that is written of data without splits."""
WRITTEN = (WHOLE, "train", "val", "test")
"""The splits that are written, by `split_file`."""
_WORDS = frozenset((*_TRAINING, *VALIDATION, *_TEST, "eval", "minival"))


def names_split(name: str) -> bool:
    """Whether a word in a name is a common name of a split.

    >>> [names_split(name) for name in ("train", "val2017_mini", "train_val", "labels", "trains")]
    [True, True, True, False, False]
    """
    return not _WORDS.isdisjoint(re.findall(r"[a-z]+", name.lower()))


def role(split: str | None) -> Literal["train", "val", "test"] | None:
    """The purpose of a split; None if its name does not say it.

    >>> role("trainval"), role("validation"), role("dogs")
    ('train', 'val', None)
    """
    if split in _TRAINING:
        return "train"
    if split in VALIDATION:
        return "val"
    return "test" if split in _TEST else None


def without_year(split: str) -> str:
    """The name of a split without the year of its data set.

    >>> without_year("val2017")
    'val'
    """
    return split.rstrip("0123456789")


def split_file(split: str | None) -> str:
    """The split in the name of a written file, by its purpose; ``all`` if there is none.

    >>> split_file("Valid"), split_file("trainval"), split_file(None)
    ('val', 'train', 'all')
    """
    return role((split or "").lower()) or WHOLE


def training_split(known: Iterable[str]) -> str | None:
    """The split to train on, out of the existing ones.

    >>> training_split(["test", "train_val"])
    'train_val'
    """
    there = set(known)
    return next((name for name in _TRAINING if name in there), None)
