"""Finding names that come twice among very many."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np


class Distinct:
    """Counts names, and finds one that comes twice in eight bytes of memory each.

    >>> names = Distinct()
    >>> for name in ("a", "b", "a"):
    ...     names.add(name)
    >>> len(names), names.repeated(lambda: ["a", "b", "a"])
    (3, 'a')
    """

    def __init__(self) -> None:
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._digests) // 8

    def add(self, name: str) -> None:
        """Count a name."""
        self._digests += _digest(name)

    def repeated(self, again: Callable[[], Iterable[str]]) -> str | None:
        """The first name that comes a second time, None where all differ; `again` gives the names once more."""
        digests = np.sort(np.frombuffer(self._digests, np.uint64))
        twice = {value.tobytes() for value in digests[1:][digests[1:] == digests[:-1]]}
        if not twice:
            return None
        seen: set[str] = set()
        for name in again():
            if _digest(name) in twice:
                if name in seen:
                    return name
                seen.add(name)
        return None  # two names of one digest


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
