"""Check that the classes of predictions are those of the annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from wsl.errors import UserError, listed, nearest


def suggestion(label: str, classes: Sequence[str]) -> str:
    """The end of a message about an unknown class: the most similar known class, and the list of known classes.

    >>> suggestion("Dgo", ["cat", "dog"])
    "did you mean 'dog'? The classes are cat, dog"
    >>> suggestion("7", ["cat", "dog"])
    'the classes are cat, dog'
    """
    near = nearest(label, classes)
    known = f"classes are {listed(classes, 20)}"
    return f"the {known}" if near is None else f"did you mean {near!r}? The {known}"


_MOST = 200  # number of unknown names for which a similar class is searched


class ClassNames:
    """The classes of predictions: those of the annotations are used, others are left out.

    A detector of many classes may be evaluated on annotations of a few. If none of its classes is one of theirs, its
    names differ, which is an error.

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
        """Whether the annotations have the class; the answer is recorded for `check` and `count`."""
        if label in self._set:
            self._recognised = True
            return True
        self._foreign[label] += 1
        return False

    def see(self, labels: Iterable[str]) -> None:
        """Record the classes of an image."""
        for label in labels:
            self.known(label)

    def check(self) -> None:
        """Check, after all classes were recorded, that at least one is in the annotations.

        Raises:
            UserError: none is; the message suggests the most similar class.
        """
        if self._foreign and not self._recognised:
            first = list(self._foreign)[:_MOST]
            near = next((label for label in first if nearest(label, self._classes)), first[0])
            raise UserError(
                f"{self._place}: none of its {len(self._foreign)} classes is in the data set: it has "
                f"{near!r}, {suggestion(near, self._classes)}"
            )

    def count(self, warnings: Counter[str], what: str) -> None:
        """Add the classes left out to the warnings; unknown names that are similar to a class are listed separately."""
        for position, (label, count) in enumerate(self._foreign.items()):
            near = nearest(label, self._classes) if position < _MOST else None
            kind = "classes that the data set does not have" if near is None else f"{label!r} (did you mean {near!r}?)"
            warnings[f"{what} of {kind}: left out"] += count
