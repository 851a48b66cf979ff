"""Splits by their names, and the error for one that is not there, which says which ones are."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from wsl.errors import UserError, nearest

_VALIDATION = ("val", "valid", "validation", "dev")


def find_split(split: str | None, known: Collection[str], where: object) -> str:
    """The name under which ``where`` has a split; ``val`` also finds ``valid``, ``validation`` and ``dev``.

    None is ``all``, or the one split that there is.

    Raises:
        UserError: it has none.

    >>> find_split("val", ["train", "validation"], "photos"), find_split(None, ["train"], "photos")
    ('validation', 'train')
    """
    names = (split or "all", *(_VALIDATION if split in _VALIDATION else ()))
    found: str | None = next((name for name in names if name in known), None)
    if found is None and split in (None, "all") and len(known) == 1:
        return str(next(iter(known)))
    if found is None:
        raise unknown_split(split, known, where)
    return found


def unknown_split(split: str | None, known: Iterable[str], where: object) -> UserError:
    """What to raise when ``where`` has no such split.

    >>> str(unknown_split("vall", ["train", "val"], "VOC2012"))
    "VOC2012 has no split 'vall'; did you mean 'val'? It has: train, val"
    >>> str(unknown_split(None, ["train", "val"], "VOC2012"))
    'VOC2012 needs a split; it has: train, val'
    """
    names = sorted(known)
    listing = ", ".join(names[:40]) + (", …" if len(names) > 40 else "") or "none"
    if split is None:
        return UserError(f"{where} needs a split; it has: {listing}")
    close = nearest(split, names)
    hint = f"did you mean {close!r}? It has: " if close else "it has: "
    return UserError(f"{where} has no split {split!r}; {hint}{listing}")
