"""One thing that looks wrong with an image's result."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A symptom (a heading of TROUBLESHOOTING.md), the evidence for it, and advice.

    ``flags`` are flags of a command that tries the advice.

    >>> str(Finding("Blank map", "the map is 0 everywhere.", "Take another method."))
    'Blank map: the map is 0 everywhere. Take another method.'
    """

    symptom: str
    what: str
    do: str
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.symptom}: {self.what} {self.do}"
