"""Whether the classes of predictions are those of the annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from wsl import errors
from wsl.errors import UserError, listed


def suggestion(label: str, classes: Sequence[str]) -> str:
    """What may have been meant by an unknown class, and what is known, for the end of a message.

    >>> suggestion("Dgo", ["cat", "dog"])
    "did you mean 'dog'? The classes are cat, dog"
    >>> suggestion("7", ["cat", "dog"])
    'the classes are cat, dog'
    """
    near = nearest(label, classes)
    known = f"classes are {listed(classes, 20)}"
    return f"the {known}" if near is None else f"did you mean {near!r}? The {known}"


def nearest(label: str, classes: Sequence[str]) -> str | None:
    """The class whose name is most like another name, whatever their case.

    >>> nearest("Dining Table", ["diningtable", "dog"])
    'diningtable'
    """
    folded = {name.casefold(): name for name in classes}
    near = errors.nearest(label.casefold(), folded)
    return None if near is None else folded[near]


_MOST = 200  # names that are compared with all classes


class ClassNames:
    """The classes of predictions as they are met: those of the annotations count, others are left out.

    A detector of many classes may be measured on annotations of a few. One that shares no class with them has other
    names, which is a mistake.

    >>> names = ClassNames(["cat", "dog"], "found.json")
    >>> names.known("dog"), names.known("emu")
    (True, False)
    """

    def __init__(self, classes: Sequence[str], place: object) -> None:
        self._classes = classes
        self._set = frozenset(classes)
        self._place = place
        self._recognised = False
        self._foreign: Counter[str] = Counter()

    def known(self, label: str) -> bool:
        """Whether the annotations have the class."""
        if label in self._set:
            self._recognised = True
            return True
        self._foreign[label] += 1
        return False

    def see(self, labels: Iterable[str]) -> None:
        """Take note of the classes of an image."""
        for label in labels:
            self.known(label)

    def check(self) -> None:
        """Check, after all, that some class was one of the annotations'.

        Raises:
            UserError: none was; names the nearest.
        """
        if self._foreign and not self._recognised:
            first = list(self._foreign)[:_MOST]
            near = next((label for label in first if nearest(label, self._classes)), first[0])
            raise UserError(
                f"{self._place}: none of its {len(self._foreign)} classes is one of the data set's: it has "
                f"{near!r}, {suggestion(near, self._classes)}"
            )

    def count(self, warnings: Counter[str], what: str) -> None:
        """Count what is of no class of the annotations; names that are like one of theirs are told."""
        for position, (label, count) in enumerate(self._foreign.items()):
            near = nearest(label, self._classes) if position < _MOST else None
            kind = "classes that the data set does not have" if near is None else f"{label!r} (did you mean {near!r}?)"
            warnings[f"{what} of {kind}: left out"] += count
