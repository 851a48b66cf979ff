"""The names that people give to splits of a data set."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

_TRAINING = ("train", "training", "trainval", "train_val")
VALIDATION = ("val", "valid", "validation", "dev")
"""Names of the split to validate on, the usual one first."""
_TEST = ("test", "testing")
_WORDS = frozenset((*_TRAINING, *VALIDATION, *_TEST, "eval", "minival"))


def names_split(name: str) -> bool:
    """Whether a word of a name is one that people give to splits.

    >>> [names_split(name) for name in ("train", "val2017_mini", "train_val", "labels", "trains")]
    [True, True, True, False, False]
    """
    return not _WORDS.isdisjoint(re.findall(r"[a-z]+", name.lower()))


def role(split: str | None) -> Literal["train", "val", "test"] | None:
    """What a split is for; None where its name does not say it.

    >>> role("trainval"), role("validation"), role("dogs")
    ('train', 'val', None)
    """
    if split in _TRAINING:
        return "train"
    if split in VALIDATION:
        return "val"
    return "test" if split in _TEST else None


def training_split(known: Iterable[str]) -> str | None:
    """The split to train on among those that there are.

    >>> training_split(["test", "train_val"])
    'train_val'
    """
    there = set(known)
    return next((name for name in _TRAINING if name in there), None)
