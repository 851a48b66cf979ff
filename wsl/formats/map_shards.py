"""Storage of the raw class maps of many images in few files: float16, concatenated, at the network's resolution."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.results import Localization
from wsl.stored_maps import StoredMaps

FOLDER = "maps"
_SHARD = re.compile(r"shard-(\d{4,})\.npy")
_SHARD_BYTES = 2**28


class MapStore:
    """Writer of maps to ``maps/shard-0000.npy``, …: flat float16 arrays of up to a quarter of a GiB.

    The index is the `StoredMaps` of each localization in ``localizations.jsonl``. A run writes its own shards and does
    not touch those of an earlier run until `finish`, so that the old results file, the new one and the partial one of a
    killed run all have their maps.

    A resumed run passes the number of its `first` shard and the `last` maps to keep; whatever was written after them is
    cut off.

    >>> import tempfile
    >>> from wsl.boxes import Boxes
    >>> found = Localization(path="a.jpg", size=(4, 2), scores={}, boxes=Boxes.empty(), maps={"dog": np.ones((7, 7))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     MapStore(Path(folder)).write(found).stored
    StoredMaps(file='maps/shard-0000.npy', labels=('dog',), offset=0, shape=(7, 7))
    """

    def __init__(
        self, folder: Path, *, shard_bytes: int = _SHARD_BYTES, first: int | None = None, last: StoredMaps | None = None
    ) -> None:
        self.folder = folder / FOLDER
        self._shard_values = max(1, shard_bytes // 2)
        shards = _shards(self.folder)
        self.first = max(shards, default=-1) + 1 if first is None else first
        self._old = {number: path for number, path in shards.items() if number < self.first}
        self._number = self.first - 1
        self._filled = self._shard_values  # the first map opens a shard
        if last is not None:
            self._number, self._filled = _place(last)
            _cut(self.folder / _name(self._number), self._filled)
        for number, path in shards.items():
            if number > self._number and number not in self._old:
                path.unlink()

    def write(self, found: Localization) -> Localization:
        """Store the maps of one localization, and return it with their place."""
        if not found.maps:
            return found
        size = sum(one.size for one in found.maps.values())
        if self._filled and self._filled + size > self._shard_values:
            self._number, self._filled = self._number + 1, 0
        name = _name(self._number)
        place = append_maps(self.folder / name, found.maps, self._filled, f"{FOLDER}/{name}")
        self._filled += size
        return dataclasses.replace(found, stored=place)

    def finish(self) -> None:
        """Remove the shards of earlier runs; call this after the results file that refers to them has been replaced."""
        for path in self._old.values():
            path.unlink(missing_ok=True)
        self._old = {}


class MapShelf:
    """Reader of the maps that `MapStore` wrote below one folder, and of older runs' maps in one file per image.

    A shard stays memory-mapped while consecutive images are read from it; only the requested values are read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._name: str | None = None
        self._values: npt.NDArray[np.float16] = np.empty(0, np.float16)

    def read(self, place: StoredMaps) -> dict[str, FloatArray]:
        """The maps of one image by label, float32.

        Raises:
            UserError: the file is missing, outside the folder, too short, or has another format.
        """
        stack = self._from_shard(place, place.shape) if place.shape else _read_whole(self._path(place), place)
        return dict(zip(place.labels, stack.astype(np.float32), strict=True))

    def _from_shard(self, place: StoredMaps, shape: tuple[int, int]) -> npt.NDArray[np.float16]:
        if place.file != self._name:
            self._values, self._name = _map_shard(self._path(place), place.file), place.file
        count = len(place.labels) * shape[0] * shape[1]
        values = self._values[place.offset : place.offset + count]
        if len(values) < count:
            raise UserError(
                f"map file {place.file} has {len(self._values)} values, expected {count} from {place.offset}: "
                "was it cut off? Run wsl-localize with --maps again"
            )
        return values.reshape(-1, *shape)

    def _path(self, place: StoredMaps) -> Path:
        path = (self.root / place.file).resolve()
        if not path.is_relative_to(self.root):
            raise UserError(f"map file {place.file!r} is outside the results folder")
        if not path.is_file():
            raise UserError(f"map file {place.file} is missing: run wsl-localize with --maps again")
        return path


def _name(number: int) -> str:
    return f"shard-{number:04d}.npy"


def _place(maps: StoredMaps) -> tuple[int, int]:
    """The number of the shard of some maps, and the number of its values up to their end.

    Raises:
        UserError: they are not in a shard.
    """
    match = _SHARD.fullmatch(maps.file.removeprefix(f"{FOLDER}/"))
    if match is None or maps.shape is None:
        raise UserError(f"map file {maps.file!r} is not one of wsl-localize: start again with --overwrite")
    return int(match[1]), maps.offset + len(maps.labels) * maps.shape[0] * maps.shape[1]


def _cut(path: Path, count: int) -> None:
    """Truncate a shard to `count` values."""
    try:
        with path.open("r+b") as file:
            _write_header(file, count)
            start = file.tell()
            if file.seek(0, 2) < start + 2 * count:
                raise UserError(f"{path} is shorter than the results say: start again with --overwrite")
            file.truncate(start + 2 * count)
    except FileNotFoundError as error:
        raise UserError(f"{path}, with maps of the stopped run, is missing: start again with --overwrite") from error


def _shards(folder: Path) -> dict[int, Path]:
    names = ((_SHARD.fullmatch(path.name), path) for path in folder.glob("shard-*.npy"))
    return {int(match[1]): path for match, path in names if match}


def append_maps(path: Path, maps: Mapping[str, FloatArray], filled: int, name: str) -> StoredMaps:
    """Append the maps of one image to a file that has `filled` values (0 makes a new file), and return their place.

    `name` is the name of the file in results.
    """
    values = _half(maps)
    _append(path, values.ravel(), filled)
    height, width = values.shape[1:]
    return StoredMaps(file=name, labels=tuple(maps), offset=filled, shape=(height, width))


def _half(maps: Mapping[str, FloatArray]) -> npt.NDArray[np.float16]:
    stack = np.stack(list(maps.values()))
    limit = np.finfo(np.float16).max
    return np.clip(stack, -limit, limit).astype("<f2")


def _append(path: Path, values: npt.NDArray[np.float16], filled: int) -> None:
    """Append values to a shard and update its header, whose length does not depend on their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Fail if a new shard exists: another run that writes here at the same time would mix its maps with ours.
    with path.open("r+b" if filled else "xb") as file:
        if not filled:
            _write_header(file, 0)
        file.seek(0, 2)
        file.write(values.tobytes())
        file.seek(0)
        _write_header(file, filled + values.size)


def _write_header(file: BinaryIO, count: int) -> None:
    header = {"descr": "<f2", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, header)


def _map_shard(path: Path, name: str) -> npt.NDArray[np.float16]:
    """All values of a shard, read lazily.

    Their number follows from the size of the file, because a killed run may have written maps without updating the
    header.
    """
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
        if kind != np.dtype("<f2") or len(shape) != 1:
            raise UserError(f"map file {name} holds {kind} {shape}, expected a flat array of float16")
        count = (path.stat().st_size - start) // 2
        return np.memmap(path, "<f2", "r", offset=start, shape=(count,)) if count else np.empty(0, np.float16)
    except Exception as error:  # numpy's readers raise many types of errors
        if isinstance(error, UserError):
            raise
        raise UserError(f"map file {name} is not a .npy array: {describe(error)}") from error


def _read_whole(path: Path, place: StoredMaps) -> npt.NDArray[np.float16]:
    try:
        stack = np.load(path, mmap_mode="r", allow_pickle=False)  # allocates no more than the file has values for
    except Exception as error:  # as above
        raise UserError(f"map file {place.file} is not a .npy array: {describe(error)}") from error
    if stack.ndim != 3 or len(stack) != len(place.labels) or not np.issubdtype(stack.dtype, np.floating):
        raise UserError(
            f"map file {place.file} holds {stack.dtype} {stack.shape}, expected floats ({len(place.labels)}, h, w)"
        )
    return stack  # type: ignore[no-any-return] # np.load's own
