"""Detection of repeated names in very long lists."""

from __future__ import annotations

import hashlib

import numpy as np


class Distinct:
    """A counter of names that finds repeated ones, with eight bytes of memory per name.

    >>> names = Distinct()
    >>> for name in ("a", "b", "a"):
    ...     names.add(name)
    >>> len(names), "a" in names.repeated(), "b" in names.repeated()
    (3, True, False)
    """

    def __init__(self) -> None:
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self._digests) // 8

    def add(self, name: str) -> None:
        """Add a name."""
        self._digests += _digest(name)

    def repeated(self) -> Repeated:
        """The names that were added twice or more."""
        digests = np.sort(np.frombuffer(self._digests, np.uint64))
        return Repeated({value.tobytes() for value in digests[1:][digests[1:] == digests[:-1]]})


class Repeated:
    """A set of names stored as digests; one name in many billions may be mistaken for another.

    >>> "a" in Repeated(set()), bool(Repeated(set()))
    (False, False)
    """

    def __init__(self, digests: set[bytes]) -> None:
        self._digests = digests

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __contains__(self, name: str) -> bool:
        return _digest(name) in self._digests


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
