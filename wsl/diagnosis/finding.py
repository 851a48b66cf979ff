"""One thing that looks wrong with an image's result."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A symptom by its heading in TROUBLESHOOTING.md, what shows it, and what to do.

    ``flags`` are those of the command that tries it.

    >>> str(Finding("Blank map", "the map is 0 everywhere.", "Take another method."))
    'Blank map: the map is 0 everywhere. Take another method.'
    """

    symptom: str
    what: str
    do: str
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.symptom}: {self.what} {self.do}"
