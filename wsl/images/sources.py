"""Which image files are meant: those that a user names, and those that an annotation names."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from wsl.errors import UserError
from wsl.files import is_left_over, leads_out
from wsl.images.archives import archive_members, is_archive, is_image_file

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif"),
    *(".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif", ".dcm"),
)


class ImagePaths(Sequence[Path]):
    """A list of paths that keeps their text alone; a `Path` is made when one is asked for.

    A `Path` each would take three times the memory, half a gigabyte for a million images.

    >>> ImagePaths(["a.jpg", "b.jpg"])[1].name
    'b.jpg'
    """

    __slots__ = ("_names",)

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> ImagePaths: ...
    def __getitem__(self, index: int | slice) -> Path | ImagePaths:
        if isinstance(index, slice):
            return ImagePaths(self._names[index])
        return Path(self._names[index])

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self._names)

    def __repr__(self) -> str:
        return f"ImagePaths({self._names!r})"


def find_images(sources: Sequence[str]) -> ImagePaths:
    """All image files that a command line means by ``IMAGE|FOLDER|GLOB …``, sorted and each once.

    A file counts whatever its suffix; folders (links to folders inside them are not followed) and globs
    (``**`` is any depth) contribute the files whose suffix is in `IMAGE_SUFFIXES`. Hidden files are left out.

    Raises:
        UserError: a source matches nothing, holds no image, or cannot be listed.

    >>> len(find_images([]))
    0
    """
    found = itertools.chain.from_iterable(map(stream_images, sources))
    one_folder = len(sources) == 1 and os.path.isdir(sources[0])  # noqa: PTH112 - it names each file once
    return ImagePaths(sorted(found if one_folder else _each_once(found)))


def _each_once(paths: Iterable[str]) -> Iterator[str]:
    """The first of all paths that name the same file."""
    seen = set[str]()
    for path in paths:
        place = os.path.normcase(os.path.abspath(path))  # noqa: PTH100 - strings: ten times faster
        if place not in seen:
            seen.add(place)
            yield path


def stream_images(source: str) -> Iterator[str]:
    """The paths of the images that one name means, as `find_images` has it, as they are found and not in memory.

    Raises:
        UserError: it matches nothing, holds no image, or cannot be listed.

    >>> next(stream_images("no such file"))
    Traceback (most recent call last):
    wsl.errors.UserError: no such file: no such file or folder; expected an image, a folder, or a glob in quotes
    """
    empty = True
    for path in _expand(source):
        empty = False
        yield path
    if empty:
        raise UserError(f"{source}: no image in it; expected files with one of the suffixes {' '.join(IMAGE_SUFFIXES)}")


def is_image_name(name: str) -> bool:
    """Whether a file name has an image's suffix and is not hidden.

    >>> is_image_name("Photo.JPG"), is_image_name("._Photo.JPG"), is_image_name("notes.txt")
    (True, False, False)
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def images_below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """The paths of all images in a folder and its subfolders, in sorted order of folders.

    Hidden files and folders, and those that macOS and NAS systems leave (``__MACOSX``, ``@eaDir``), are left out.

    Raises:
        UserError: a folder cannot be listed.
    """

    def unreadable(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror})")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not is_left_over(name))
        for name in sorted(filter(is_image_name, names)):
            yield os.path.join(parent, name)  # noqa: PTH118 - a Path each would double the time of a large folder


def images_in(archive: str | os.PathLike[str]) -> Iterator[str]:
    """The paths of all images in a tar, zip or Parquet file, in its order.

    Raises:
        UserError: it is not an archive, or cut off.
    """
    for name in archive_members(Path(archive)):
        if is_image_name(name.rpartition("/")[2]) or str(archive).lower().endswith(".parquet"):
            yield os.path.join(archive, *name.split("/"))  # noqa: PTH118 - as above


def _expand(source: str) -> Iterator[str]:
    if Path(source).is_dir():
        yield from images_below(source)
    elif is_archive(source):
        yield from images_in(source)
    elif is_image_file(Path(source)):  # before globs: a name may hold brackets
        yield source
    elif glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - takes absolute patterns, no hidden files
        if not matches:
            raise UserError(f"{source}: the pattern matches nothing; expected for example photos/**/*.jpg")
        for match in matches:
            if is_image_name(os.path.basename(match)) and os.path.isfile(match):  # noqa: PTH113, PTH119 - as above
                yield match
            elif is_archive(match):
                yield from images_in(match)
            elif "**" not in source and Path(match).is_dir():  # as the shell would have passed it on
                yield from images_below(match)
    else:
        raise UserError(f"{source}: no such file or folder; expected an image, a folder, or a glob in quotes")


def inside(folder: Path, name: str, named_by: str) -> Path:
    """``folder / name``, where an annotation file chose ``name`` and must not reach outside the folder.

    Raises:
        UserError: the name is empty, absolute, or climbs with ``..`` (by Windows' rules too).

    >>> inside(Path("images"), "a/b.jpg", "train.txt").as_posix()
    'images/a/b.jpg'
    >>> inside(Path("images"), "../../secret", "train.txt")
    Traceback (most recent call last):
    wsl.errors.UserError: train.txt names '../../secret', which is not inside images; expected a relative path
    """
    if leads_out(name):
        raise UserError(f"{named_by} names {name!r}, which is not inside {folder.as_posix()}; expected a relative path")
    return folder / name


def require_files(paths: Iterable[Path], named_by: str, *, movable: bool = False) -> None:
    """Check that every file exists, so that a wrong folder is one line at the start and not an epoch of skips.

    ``movable`` says whether --image-root can name the folder of the files.

    Raises:
        UserError: at least one is missing; names the first and the count.
    """
    paths = list(paths)
    missing = [path for path in paths if not is_image_file(path)]
    if missing:
        elsewhere = ", give their folder as --image-root," if movable else ""
        raise UserError(
            f"{missing[0]}: no such image; {len(missing)} of the {len(paths)} images that {named_by} names are "
            f"missing: copy them there (wsl-export: --copy-images){elsewhere} or take them off the list"
        )
