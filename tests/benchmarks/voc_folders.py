"""VOC folders of chosen photographs of another one, for the other programs here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

_LISTS = Path("ImageSets", "Main")


def names_of(voc: Path, split: str) -> list[str]:
    """The photographs of a split, in the order of its list."""
    return (voc / _LISTS / f"{split}.txt").read_text(encoding="utf-8").split()


def write_splits(
    voc: Path,
    folder: Path,
    splits: Mapping[str, Collection[str]],
    parts: Collection[str] = ("JPEGImages", "Annotations"),
) -> Path:
    """A VOC folder with these splits, whose ``parts`` are links to those of another one."""
    (folder / _LISTS).mkdir(parents=True, exist_ok=True)
    for part in parts:
        if (voc / part).is_dir() and not (folder / part).exists():
            (folder / part).symlink_to((voc / part).resolve(), target_is_directory=True)
    for split, names in splits.items():
        (folder / _LISTS / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return folder
