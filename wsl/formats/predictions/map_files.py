"""Safe reading of a file of score maps: its shape is checked before memory is allocated."""

from __future__ import annotations

import functools
import io
import math
import os
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import FloatArray
from wsl.documents.guard import describe
from wsl.errors import BadImageError, UserError
from wsl.images.decode import read_numbers

Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
SUFFIXES = (".npy", ".npz", ".png")
LARGEST_SIDE = 8192
_ROUNDING = 1e-6
_GREY = 0  # PNG's colour type for one channel without a palette


def load_map(path: Path) -> FloatArray | None:
    """Read the single map of a ``.npy`` (h, w) or a grey PNG; None if a ``.npy`` (K, h, w) or a ``.npz`` has several.

    Values are floats in [0, 1], or 8-bit integers, which are divided by 255.

    Raises:
        UserError: the file has another format, type or shape, or values outside [0, 1].

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(Path(folder, "a.npy"), np.uint8([[0, 255]]))
    ...     load_map(Path(folder, "a.npy")).tolist()
    [[0.0, 1.0]]
    """
    if path.suffix == ".npz":
        return None
    if path.suffix == ".png":
        return _picture(path)
    try:
        with path.open("rb") as file:
            shape, by_column, kind = _header(file)
            _check(_like(kind), shape, str(path), (2, 3))
            if len(shape) == 3:
                return None
            # Check that the file has the stated values before allocating memory for them.
            count = math.prod(shape)
            if os.fstat(file.fileno()).st_size - file.tell() < kind.itemsize * count:
                raise ValueError("the file ends early")
            return _in_unit(np.fromfile(file, kind, count).reshape(shape, order="F" if by_column else "C"), str(path))
    except UserError:
        raise
    except Exception as error:  # numpy's readers raise many types of errors
        raise _damaged(path, error) from error


def load_maps(path: Path, wanted: Collection[str], listed: Sequence[str]) -> tuple[Mapping[str, FloatArray], set[str]]:
    """Read the maps of some classes from a ``.npz``, by name, or from a ``.npy`` (K, h, w) of the classes ``listed``.

    Returns the maps, and the names of all classes in the file. Only the maps of ``wanted`` classes are read.

    Raises:
        UserError: as for `load_map`, or the number of maps is not that of the listed classes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "a.npz"), dog=np.eye(2), cat=np.zeros((2, 2)))
    ...     maps, names = load_maps(Path(folder, "a.npz"), ["dog"], [])
    >>> list(maps), sorted(names)
    (['dog'], ['cat', 'dog'])
    """
    if path.suffix == ".npz":
        return _members(path, wanted)
    values = _mapped(path)
    if not listed:
        raise UserError(
            f"{path}: holds {values.dtype} {values.shape}, maps of {len(values)} classes; expected their names, one "
            "per line, in classes.txt beside them"
        )
    if len(values) != len(listed):
        raise UserError(
            f"{path}: holds {values.dtype} {values.shape}; expected a map per class of classes.txt, {len(listed)}"
        )
    named = {name: values[i] for i, name in enumerate(listed) if name in wanted}
    return {name: _in_unit(value, f"{path}: the map of {name!r}") for name, value in named.items()}, set(listed)


def _picture(path: Path) -> FloatArray:
    try:
        values = read_numbers(path)
    except BadImageError as error:
        raise UserError(f"{error}; expected a grey score map of 8 bits") from error
    if not is_grey(path):
        raise UserError(f"{path}: not grey, or not of 8 bits per pixel; expected a grey score map of 8 bits")
    return _in_unit(values, str(path))


def is_grey(path: Path) -> bool:
    """Whether a PNG has one channel of 8 bits, according to its header.

    >>> is_grey(Path("no such file"))
    False
    """
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError:
        return False
    return tuple(header[24:]) == (8, _GREY)


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's readers raise many types of errors
        raise _damaged(path, error) from error
    _check(values, values.shape if isinstance(values, np.ndarray) else (), str(path), (2, 3))
    return np.asarray(values)


def _damaged(path: Path, error: BaseException) -> UserError:
    return UserError(f"{path}: not a .npy array ({describe(error)}); expected floats in [0, 1], (h, w)")


def _like(kind: np.dtype[Any]) -> npt.NDArray[Any] | None:
    return None if kind.hasobject else np.empty(0, kind)


def _members(path: Path, wanted: Collection[str]) -> tuple[Mapping[str, FloatArray], set[str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            maps = {name: _member(archive, name, path) for name in wanted if name in names}
    except Exception as error:  # numpy's readers raise many types of errors
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: not a .npz of arrays ({describe(error)}); expected one map (h, w) under the name of each class"
        ) from error
    return maps, names


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> FloatArray:
    what = f"{path}: the map of {name!r}"
    with archive.open(f"{name}.npy") as file:
        shape, _, kind = _header(file)
        _check(_like(kind), shape, what, (2,))
    with archive.open(f"{name}.npy") as file:
        return _in_unit(np.lib.format.read_array(file, allow_pickle=False), what)


def _header(file: IO[bytes]) -> Header:
    """The shape, whether columns are stored one after another, and the type of an array, up to its first value."""
    version = np.lib.format.read_magic(file)
    length = file.read(2 if version == (1, 0) else 4)
    return _parsed(version, length + file.read(int.from_bytes(length, "little")))


@functools.lru_cache(maxsize=16)
def _parsed(version: tuple[int, int], header: bytes) -> Header:
    # NumPy compiles each header as Python, and those of a folder are mostly the same.
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, kind = read(io.BytesIO(header))
    return shape, by_column, kind


def _check(values: Any, shape: tuple[int, ...], what: str, axes: tuple[int, ...]) -> None:
    expected = "floats in [0, 1] or 8-bit integers, (h, w)" + (" or (K, h, w)" if 3 in axes else "")
    if not isinstance(values, np.ndarray):
        raise UserError(f"{what}: holds several arrays or objects; expected {expected}")
    fine = np.issubdtype(values.dtype, np.floating) or values.dtype in (np.uint8, np.bool_)
    if len(shape) not in axes or not fine:
        raise UserError(f"{what}: holds {values.dtype} {shape}; expected {expected}")
    if 0 in shape or max(shape[-2:]) > LARGEST_SIDE:
        raise UserError(f"{what}: holds a map of shape {shape}; expected sides of 1 to {LARGEST_SIDE} cells")


def _in_unit(values: npt.NDArray[Any], what: str) -> FloatArray:
    """The map in memory, with its values checked and clipped to [0, 1]."""
    if values.dtype == np.uint8:
        return np.asarray(values, np.float32) / np.float32(255)
    score_map = np.array(values, np.float32 if values.dtype == np.bool_ else values.dtype, copy=None)
    if score_map.min() >= 0 and score_map.max() <= 1:
        # Copy a memory-mapped array.
        return np.array(score_map) if isinstance(values, np.memmap) else score_map
    finite = score_map[np.isfinite(score_map)]
    if finite.size and not (finite.min() >= -_ROUNDING and finite.max() <= 1 + _ROUNDING):
        raise UserError(
            f"{what}: values from {finite.min():g} to {finite.max():g}; expected [0, 1]: store (m - min) / (max - min)"
        )
    return np.asarray(np.clip(score_map, 0, 1), score_map.dtype)
