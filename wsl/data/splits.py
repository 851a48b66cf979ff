"""The error for a split that is not there, which says which ones are."""

from __future__ import annotations

from collections.abc import Iterable

from wsl.errors import UserError, nearest


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
