"""Data sets on the Hugging Face hub by name, ``hfds/NAME``, prepared once as Parquet (extra ``datasets``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsl.data.parquet_images import parquet_splits, read_split
from wsl.documents import guarded
from wsl.documents.guard import describe
from wsl.errors import RunError, UserError
from wsl.progress import loading
from wsl.samples import SampleSet

PREFIX = "hfds"


def hub_name(data: Path) -> str | None:
    """The name of a data set on the hub; None for any other path.

    >>> hub_name(Path("hfds/user/beans")), hub_name(Path("photos/beans"))
    ('user/beans', None)
    """
    prefix, *name = data.as_posix().split("/")
    return "/".join(name) if prefix == PREFIX and name and not data.exists() else None


@guarded("Parquet with columns of images and labels")
def read_hub(data: Path, split: str | None) -> SampleSet:
    """The images, labels and boxes of one split of a data set on the Hugging Face hub, or in a folder of its form.

    It is downloaded and prepared once as Parquet in the cache of the library ``datasets``, and then read as by
    `wsl.data.read_parquet_images`.

    Args:
        data: ``hfds/NAME``, where the name may be that of a folder.
        split: The name of the split in the data set; ``val`` also finds ``validation``.

    Raises:
        UserError: the library is not installed; there is no such data set or split, or no column of images or labels.
        RunError: it cannot be downloaded or prepared.

    >>> read_hub(Path("photos"), "train")
    Traceback (most recent call last):
    wsl.errors.UserError: photos: expected hfds/NAME, a data set of Hugging Face's hub
    """
    folder, splits = _prepared(data)
    return read_split(splits, split, folder)


def hub_splits(data: Path) -> tuple[str, ...]:
    """The splits of a data set, which is prepared if necessary.

    Raises:
        UserError, RunError: as for `read_hub`.
    """
    return tuple(_prepared(data)[1])


def _prepared(data: Path) -> tuple[Path, dict[str, list[Path]]]:
    """The folder of a prepared data set, and its files by split.

    Raises:
        UserError, RunError: as for `read_hub`.
    """
    name = hub_name(data)
    if name is None:
        raise UserError(f"{data}: expected {PREFIX}/NAME, a data set of Hugging Face's hub")
    with loading(name):
        builder = _builder(name)
        folder = Path(builder.cache_dir).with_name(f"{Path(builder.cache_dir).name}-parquet")
        if not (folder / "dataset_info.json").is_file():  # which is written last
            try:
                builder.download_and_prepare(str(folder), file_format="parquet")
            except Exception as error:  # various exceptions for networks, disks and damaged files
                raise RunError(f"{data} cannot be prepared ({describe(error)})") from error
    prefix = f"{builder.dataset_name}-"  # of the files' names
    return folder, {split.removeprefix(prefix): files for split, files in parquet_splits(folder).items()}


def _builder(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            f"{PREFIX}/{name} needs the library datasets, which is not installed: pip install 'wsl-toolkit[datasets]'"
        ) from error
    try:
        return datasets.load_dataset_builder(name)
    except Exception as error:  # not found, offline, gated: each raises another type
        raise UserError(
            f"{PREFIX}/{name}: no such data set at Hugging Face's hub or in a folder, or the hub cannot be reached "
            f"({describe(error)})"
        ) from error
