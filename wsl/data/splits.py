"""Splits by their names, and the error for one that is not there, which says which ones are."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from wsl.errors import UserError, nearest
from wsl.split_names import VALIDATION, names_split


class UnknownSplit(UserError):
    """A data set has no split of a name; ``known`` are those that it has.

    ``divisible`` says that it has no splits at all, so that its images can be divided into training and validation.
    """

    known: tuple[str, ...] = ()
    divisible: bool = False


def find_split(split: str | None, known: Collection[str], where: object, *, divisible: bool | None = None) -> str:
    """The name under which ``where`` has a split; ``val`` also finds ``valid``, ``validation`` and ``dev``.

    None is ``all``, or the one split that there is.

    Raises:
        UnknownSplit: it has none; ``divisible`` as for `unknown_split`.

    >>> find_split("val", ["train", "validation"], "photos"), find_split(None, ["train"], "photos")
    ('validation', 'train')
    """
    names = (split or "all", *(VALIDATION if split in VALIDATION else ()))
    found: str | None = next((name for name in names if name in known), None)
    if found is None and split in (None, "all") and len(known) == 1:
        return str(next(iter(known)))
    if found is None:
        raise unknown_split(split, known, where, divisible=divisible)
    return found


def unknown_split(
    split: str | None, known: Iterable[str], where: object, *, divisible: bool | None = None
) -> UnknownSplit:
    """What to raise when ``where`` has no such split.

    ``divisible`` is whether it has no splits at all; None concludes so where no known name is one of a split.

    >>> str(unknown_split("vall", ["train", "val"], "VOC2012"))
    "VOC2012 has no split 'vall'; did you mean 'val'? It has: train, val"
    >>> str(unknown_split(None, ["train", "val"], "VOC2012"))
    'VOC2012 needs a split; it has: train, val'
    """
    names = sorted(known)
    listing = ", ".join(names[:40]) + (", …" if len(names) > 40 else "") or "none"
    if split is None:
        error = UnknownSplit(f"{where} needs a split; it has: {listing}")
    else:
        close = nearest(split, [name for name in names if name != "all"])
        hint = f"did you mean {close!r}? It has: " if close else "it has: "
        error = UnknownSplit(f"{where} has no split {split!r}; {hint}{listing}")
    error.known = tuple(names)
    error.divisible = not any(map(names_split, names)) if divisible is None else divisible
    return error
