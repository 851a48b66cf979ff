"""The files that an export owns in its output folder, and their atomic replacement."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wsl.documents import load_json
from wsl.errors import UserError
from wsl.files import is_left_over, leads_out, sync_folder, synced_together, write_text
from wsl.formats.exchange.parsing import files_below
from wsl.split_names import WRITTEN

STAGING = ".wsl-export"
_JOURNAL, _DONE = "exchange.json", "exchanged.json"


class Area(NamedTuple):
    """One file, or with a suffix all files with that suffix in a folder and below; compared by real paths."""

    path: Path
    suffix: str | None = None

    def overlaps(self, other: Area) -> bool:
        """Whether a file may belong to both areas.

        >>> Area(Path("a"), ".json").overlaps(Area(Path("a/b/c.json")))
        True
        """
        ours, theirs = _real(self.path), _real(other.path)
        if self.suffix is not None and other.suffix is not None:
            return self.suffix == other.suffix and (ours.is_relative_to(theirs) or theirs.is_relative_to(ours))
        if self.suffix is not None:
            return theirs.is_relative_to(ours) and theirs.suffix.lower() == self.suffix
        if other.suffix is not None:
            return other.overlaps(self)
        return ours == theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of a format below its output folder. An export owns these and the images that it copied.

    ``files`` are single files, and ``by_split`` is the name, with ``<split>``, of the files that are written for each
    split: one for ``all`` of data without splits, or those of its splits, which are then recorded. ``folder`` contains
    one file per image, each with ``suffix``; other files in it are not owned by the export. Files with the suffix for
    which ``beside`` is true are beside the images: without a ``folder`` they belong to the format, with a ``folder``
    they are read only if it is missing.
    """

    files: tuple[str, ...] = ()
    by_split: str = ""
    folder: str | None = None
    suffix: str = ""
    beside: Callable[[Path], bool] | None = None

    def own(self, root: Path) -> list[str]:
        """The format's files in a folder, relative to it."""
        single = [name for name in (*self.files, *self._of_splits(root)) if os.path.lexists(root / name)]
        if self.folder is not None:
            return self._below(root, self.folder) + single
        return self._standing(root) + single

    def split_files(self) -> tuple[str, ...]:
        """The files of all splits, that of ``all`` first.

        >>> Layout(by_split="lists/<split>.txt").split_files()
        ('lists/all.txt', 'lists/train.txt', 'lists/val.txt', 'lists/test.txt')
        """
        return tuple(self.by_split.replace("<split>", split) for split in WRITTEN) if self.by_split else ()

    @property
    def _record(self) -> str:
        return (PurePosixPath(self.by_split).parent / ".wsl-splits.json").as_posix()

    def record_splits(self, root: Path) -> None:
        """Record the files of splits, so that a later export replaces only these and no lists made by hand."""
        names = [name for name in self.split_files()[1:] if (root / name).is_file()]
        if names:
            write_text(root / self._record, json.dumps(names) + "\n")

    def _of_splits(self, root: Path) -> list[str]:
        """The files of splits that an earlier export may have written."""
        whole, *parts = self.split_files() or ("",)
        recorded = _names_in(root / self._record) if parts else set()
        return [whole, *(name for name in parts if name in recorded), self._record] if whole else []

    def _below(self, root: Path, folder: str) -> list[str]:
        paths = (path for path in files_below(root / folder, self.suffix) if not path.is_dir())
        return [path.relative_to(root).as_posix() for path in paths]

    def _standing(self, root: Path) -> list[str]:
        """The files beside the images."""
        if self.beside is None:
            return []
        return [name for name in self._below(root, ".") if self.beside(root / name)]

    def foreign(self, root: Path) -> list[str]:
        """The files in the format's folder that do not belong to the format."""
        if self.folder is None:
            return []
        own = set(self._below(root, self.folder))
        paths = (path for path in (root / self.folder).rglob("*") if path.is_symlink() or not path.is_dir())
        names = (path.relative_to(root).as_posix() for path in paths)
        return sorted(name for name in names if name not in own)

    def check_vacant(self, root: Path, name: str, copied: Collection[str]) -> None:
        """Check that a folder has no files that an export in this format, called ``name``, would replace or mix with.

        Raises:
            UserError: it has.
        """
        own = [*self.own(root), *sorted(copied)]
        if self.folder is not None and not (root / self.folder).is_dir():
            own += self._standing(root)
        foreign = [path for path in self.foreign(root) if not any(map(is_left_over, Path(path).parts))]
        held = [f"{_count(own)} of {name} ({own[0]} first)"] if own else []
        held += [f"{_count(foreign, 'other ')} in {self.folder}"] if foreign else []
        if held:
            raise UserError(
                f"{root} holds {' and '.join(held)}: --overwrite replaces the files of {name} and leaves all others, "
                "or choose another --out"
            )

    def areas(self, root: Path) -> list[Area]:
        """The areas of the format's files."""
        areas = [Area(root / name) for name in (*self.files, *self.split_files())]
        return areas if not self.suffix else [*areas, Area(root / (self.folder or "."), self.suffix)]

    def areas_read(self, source: Path) -> list[Area]:
        """The areas that are read for a source in this format, which is a file or a folder."""
        areas = [Area(source)] if source.is_file() else []
        root = source if source.is_dir() else source.parent
        if source.is_dir() or self.folder is not None:
            areas += self.areas(root)
            if self.folder is not None and not (root / self.folder).is_dir():
                areas.append(Area(root, self.suffix))
        return areas


@contextlib.contextmanager
def staged(out: Path, layout: Layout, replaced: Collection[str] = ()) -> Iterator[Path]:
    """Yield an empty folder, whose contents replace the format's files in ``out`` when the block ends.

    ``replaced``, which may grow inside the block, are further files to replace. The new files are written to a
    temporary folder, so that a run that fails or is killed leaves the old ones intact. They are exchanged by renaming;
    the format's own folder, if it has one, is renamed as a whole. If an error occurs meanwhile, the exchange is undone,
    and `undo_exchange` undoes that of a killed process. All other files stay.

    Raises:
        UserError: another file exists at the place of a new one.
    """
    staging = out / STAGING
    new = staging / "new"
    new.mkdir(parents=True)
    try:
        with synced_together(new):
            yield new
            layout.record_splits(new)
        _exchange(out, new, layout, replaced)
        sync_folder(out)
        (staging / _JOURNAL).rename(staging / _DONE)  # the old files are no longer needed
    finally:
        if not (staging / _JOURNAL).exists():
            _remove(staging)


def undo_exchange(out: Path) -> None:
    """Undo the exchange of a killed run in a folder, and remove its temporary files.

    Raises:
        UserError: it cannot be undone, because files were added or removed meanwhile.
    """
    staging = out / STAGING
    journal = staging / _JOURNAL
    if journal.is_file():
        steps = load_json(journal, "a list of pairs of names")
        pairs = [pair for pair in steps if isinstance(pair, list)] if isinstance(steps, list) else []
        _undo(out, [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and all(map(_is_inside, pair))])
    if not (staging / _DONE).is_file() and any(path.is_file() for path in (staging / "old").rglob("*")):
        raise UserError(
            f"an export was killed while it replaced files, and {out} has changed since: {staging / 'old'} has the old "
            f"files; move back what you need and remove {staging}"
        )
    _remove(staging)


def _remove(staging: Path) -> None:
    """Remove the staging folder, old files first, because the other files show that they are no longer needed."""
    shutil.rmtree(staging / "old", ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)


def _is_inside(name: Any) -> bool:
    return isinstance(name, str) and not leads_out(name)


def _exchange(out: Path, new: Path, layout: Layout, replaced: Collection[str]) -> None:
    foreign = layout.foreign(out)
    written = (path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
    arriving = _units(new, layout, written)
    if foreign and layout.folder is not None and layout.folder not in arriving:
        arriving = [layout.folder, *arriving]
    # Foreign files are moved to the new folder first, so that the paths alone show which steps were done.
    steps = [(name, f"{STAGING}/new/{name}") for name in foreign]
    steps += [(name, f"{STAGING}/old/{name}") for name in _units(out, layout, [*layout.own(out), *foreign, *replaced])]
    steps += [(f"{STAGING}/new/{name}", name) for name in arriving]
    write_text(out / STAGING / _JOURNAL, json.dumps(steps))
    try:
        for source, target in steps:
            if os.path.lexists(out / target):
                place = out / target
                raise UserError(f"{place} exists and is not part of the export: move it, or choose another --out")
            (out / target).parent.mkdir(parents=True, exist_ok=True)
            (out / source).rename(out / target)
    except BaseException:
        _undo(out, steps)
        (out / STAGING / _JOURNAL).unlink()
        raise


def _undo(out: Path, steps: Sequence[tuple[str, str]]) -> None:
    """Undo the renamings that were done: those whose source is missing and whose target exists."""
    for source, target in reversed(steps):
        if os.path.lexists(out / target) and not os.path.lexists(out / source):
            (out / source).parent.mkdir(parents=True, exist_ok=True)
            (out / target).rename(out / source)


def _units(root: Path, layout: Layout, names: Collection[str] | Iterator[str]) -> list[str]:
    """The paths to rename to move some files: the format's folder as a whole, and the others one by one."""
    folder = layout.folder
    if folder is None:
        return list(dict.fromkeys(names))
    rest = [name for name in dict.fromkeys(names) if not Path(name).is_relative_to(folder)]
    return ([folder] if (root / folder).is_dir() else []) + rest


def copies_list(name: str) -> str:
    """The name of the file that lists the images copied by an export in a format."""
    return f".wsl-copied-{name}.json"


def read_copies(out: Path, name: str) -> set[str]:
    """The images below ``out`` that an earlier export copied there and that still exist.

    >>> read_copies(Path("nowhere"), "yolo")
    set()
    """
    root = _real(out)
    return {one for one in _names_in(out / copies_list(name)) if _is_below(out / one, root)}


def _names_in(file: Path) -> set[str]:
    """The names in a list that an export wrote; none if there is no such list."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    return {one for one in names if isinstance(one, str) and "\0" not in one} if isinstance(names, list) else set()


def _is_below(file: Path, root: Path) -> bool:
    """Whether a file exists below the folder; a list from elsewhere might name one outside, or the folder itself."""
    try:
        return file.is_file() and _real(file.parent).is_relative_to(root)
    except OSError:  # not a valid file name
        return False


def _real(path: Path) -> Path:
    return Path(os.path.normcase(os.path.realpath(path)))


def _count(names: Collection[str], kind: str = "") -> str:
    return f"1 {kind}file" if len(names) == 1 else f"{len(names)} {kind}files"
