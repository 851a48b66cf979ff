"""Data sets as folders of images, one folder a class."""

from __future__ import annotations

from pathlib import Path

from wsl.data.splits import find_split, unknown_split
from wsl.documents import guarded
from wsl.errors import UserError
from wsl.files import is_left_over
from wsl.images.sources import images_below, is_image_name
from wsl.samples import Sample, SampleSet
from wsl.split_names import names_split


@guarded("a folder of images for each class")
def read_folder(root: str | Path, split: str | None = None) -> SampleSet:
    """Images labelled by their folder: ``root/class/image.jpg``, or ``root/split/class/image.jpg`` with a split.

    A class is every folder that is not hidden, in alphabetical order; its images may lie in subfolders. Classes
    are those of the split's own folder. Nobody annotated boxes. What macOS and NAS systems leave between the images
    (``__MACOSX``, ``@eaDir``) is passed over.

    Args:
        root: The folder.
        split: A folder of ``root`` that holds the classes (``val`` also finds ``valid``, ``validation`` and ``dev``);
            None or ``all`` if ``root`` itself does.

    Raises:
        UserError: no such folder or split, no class folders, or no image in any of them.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     Path(root, "train", "dog").mkdir(parents=True)
    ...     Path(root, "train", "dog", "a.jpg").touch()
    ...     read_folder(root, "train").samples[0].labels
    ('dog',)
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; expected one that holds a folder of images for each class")
    folder, splits = root, folder_splits(root)
    if split is not None and (split != "all" or "all" in splits):
        if not splits:
            raise unknown_split(split, ["all"], root)
        name = find_split(split, [*splits, "all"], root, divisible=False)
        folder = root / name
    classes = folder_names(folder)
    if not classes:
        raise UserError(f"{folder}: no folders in it; expected a folder of images for each class")
    samples = tuple(Sample(path=Path(path), labels=(name,)) for name in classes for path in images_below(folder / name))
    if not samples:
        raise UserError(f"{folder}: no image in its folders {', '.join(classes[:20])}; expected class/image.jpg")
    return SampleSet(classes=classes, samples=samples)


def folder_names(root: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, sorted, without those that are hidden or that systems leave.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     for name in ("dog", "cat", ".git"):
    ...         Path(root, name).mkdir()
    ...     folder_names(Path(root))
    ('cat', 'dog')
    """
    return tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not is_left_over(path.name)))


def folder_splits(root: Path) -> tuple[str, ...]:
    """The folders of splits, which hold a folder for each class; none where the folders of ``root`` are the classes.

    They are where one of them holds images and no folder. Where all hold folders, they are splits if one has the name
    of a split, or if two of them hold folders of the same name.

    >>> folder_splits(Path("no such folder"))
    ()
    """
    names = folder_names(root) if root.is_dir() else ()
    inner = {name: folder_names(root / name) for name in names}
    if any(not inner[name] and _holds_images(root / name) for name in names):
        return ()
    below = [name for one in inner.values() for name in one]
    alike = len(set(below)) < len(below)
    return names if len(names) == 1 or alike or any(map(names_split, names)) else ()


def _holds_images(folder: Path) -> bool:
    return any(is_image_name(path.name) for path in folder.iterdir() if path.is_file())


def is_folder_of_classes(root: Path) -> bool:
    """Whether a folder has folders with images.

    >>> is_folder_of_classes(Path("no such folder"))
    False
    """
    return root.is_dir() and any(next(images_below(root / name), None) for name in folder_names(root))
