"""The files that an export owns in its output folder, and their replacement as a whole."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from wsl.errors import UserError
from wsl.files import is_left_over, sync_folder, synced_together
from wsl.formats.exchange.parsing import files_below

STAGING = ".wsl-export"


class Area(NamedTuple):
    """One file, or with a suffix all files of a folder and below it that end with it; compared by their real paths."""

    path: Path
    suffix: str | None = None

    def overlaps(self, other: Area) -> bool:
        """Whether some file may belong to both.

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

    ``files`` are single files. ``folder`` holds one file an image, each with ``suffix``; other files in it belong to
    somebody else. Files with the suffix for which ``beside`` is true stand beside the images: without a ``folder``
    they are the format's own, with one they are what is read where the folder is missing.
    """

    files: tuple[str, ...] = ()
    folder: str | None = None
    suffix: str = ""
    beside: Callable[[Path], bool] | None = None

    def own(self, root: Path) -> list[str]:
        """The format's files in a folder, relative to it."""
        single = [name for name in self.files if os.path.lexists(root / name)]
        if self.folder is not None:
            return self._below(root, self.folder) + single
        return self._standing(root) + single

    def _below(self, root: Path, folder: str) -> list[str]:
        paths = (path for path in files_below(root / folder, self.suffix) if not path.is_dir())
        return [path.relative_to(root).as_posix() for path in paths]

    def _standing(self, root: Path) -> list[str]:
        """The files beside the images."""
        if self.beside is None:
            return []
        return [name for name in self._below(root, ".") if self.beside(root / name)]

    def foreign(self, root: Path) -> list[str]:
        """Other people's files in the format's folder."""
        if self.folder is None:
            return []
        own = set(self._below(root, self.folder))
        paths = (path for path in (root / self.folder).rglob("*") if path.is_symlink() or not path.is_dir())
        names = (path.relative_to(root).as_posix() for path in paths)
        return sorted(name for name in names if name not in own)

    def check_vacant(self, root: Path, name: str, copied: Collection[str]) -> None:
        """Check that a folder holds nothing that an export in this format, called ``name``, replaces or is read with.

        Raises:
            UserError: it does.
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
        """Where the format's files lie."""
        areas = [Area(root / name) for name in self.files]
        return areas if not self.suffix else [*areas, Area(root / (self.folder or "."), self.suffix)]

    def areas_read(self, source: Path) -> list[Area]:
        """Where the files lie that are read with a source in this format: a file or a folder."""
        areas = [Area(source)] if source.is_file() else []
        root = source if source.is_dir() else source.parent
        if source.is_dir() or self.folder is not None:
            areas += self.areas(root)
            if self.folder is not None and not (root / self.folder).is_dir():
                areas.append(Area(root, self.suffix))
        return areas


@contextlib.contextmanager
def staged(out: Path, layout: Layout, replaced: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty folder; what is in it at the end takes the place of the format's files in ``out``.

    ``replaced``, which may grow inside the block, are further files to be replaced. The new files are written on the
    side, so that a run that fails or is killed leaves the old ones whole. They are exchanged by renaming, folders as
    a whole where the format has a folder of its own, and an error on the way undoes it. All other files stay.

    Raises:
        UserError: another file stands where one of the new ones belongs, or an earlier run was killed while it
            exchanged the files.
    """
    new, old = out / STAGING / "new", out / STAGING / "old"
    if old.exists():
        raise UserError(
            f"an export was killed while it replaced files: {old} has the old ones, {new} and {out} the new ones; move "
            f"back what you need and remove {out / STAGING}"
        )
    shutil.rmtree(out / STAGING, ignore_errors=True)  # of a run that was killed earlier
    new.mkdir(parents=True)
    try:
        with synced_together(new):
            yield new
        _exchange(out, new, old, layout, replaced)
        sync_folder(out)
        if old.exists():
            old.rename(out / STAGING / "replaced")  # from here on it is no longer needed
    finally:
        if not old.exists() or not any(path.is_file() for path in old.rglob("*")):
            shutil.rmtree(out / STAGING, ignore_errors=True)


def _exchange(out: Path, new: Path, old: Path, layout: Layout, replaced: Collection[str]) -> None:
    foreign = layout.foreign(out)
    done: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        if os.path.lexists(target):
            raise UserError(
                f"{target} is in the way and not a file that the export owns: move it, or choose another --out"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        done.append((source, target))

    try:
        for name in _units(out, layout, [*layout.own(out), *foreign, *replaced]):
            move(out / name, old / name)
        written = (path.relative_to(new).as_posix() for path in new.rglob("*") if path.is_file())
        for name in _units(new, layout, written):
            move(new / name, out / name)
        for name in foreign:
            move(old / name, out / name)
    except BaseException:
        for source, target in reversed(done):
            target.rename(source)
        raise


def _units(root: Path, layout: Layout, names: Collection[str] | Iterator[str]) -> list[str]:
    """What is renamed to move some files: the format's folder as a whole, the others one by one."""
    folder = layout.folder
    if folder is None:
        return list(dict.fromkeys(names))
    rest = [name for name in dict.fromkeys(names) if not Path(name).is_relative_to(folder)]
    return ([folder] if (root / folder).is_dir() else []) + rest


def copies_list(name: str) -> str:
    """The file that lists the images which an export in a format copied."""
    return f".wsl-copied-{name}.json"


def read_copies(out: Path, name: str) -> set[str]:
    """The images below ``out`` that an earlier export copied there and that still exist.

    >>> read_copies(Path("nowhere"), "yolo")
    set()
    """
    try:
        names = json.loads((out / copies_list(name)).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    root = _real(out)
    listed = (one for one in names if isinstance(one, str) and "\0" not in one) if isinstance(names, list) else ()
    return {one for one in listed if _is_below(out / one, root)}


def _is_below(file: Path, root: Path) -> bool:
    """Whether a file is there; a list from elsewhere must not name one outside the folder, or the folder itself."""
    try:
        return file.is_file() and _real(file.parent).is_relative_to(root)
    except OSError:  # a name that no file can have
        return False


def _real(path: Path) -> Path:
    return Path(os.path.normcase(os.path.realpath(path)))


def _count(names: Collection[str], kind: str = "") -> str:
    return f"1 {kind}file" if len(names) == 1 else f"{len(names)} {kind}files"
