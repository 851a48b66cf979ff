"""One file of score maps, opened with care: the shape is checked before any memory is asked for."""

from __future__ import annotations

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

SUFFIXES = (".npy", ".npz", ".png")
LARGEST_SIDE = 8192
_ROUNDING = 1e-6
_GREY = 0  # PNG's number for one channel without a palette


def load_map(path: Path) -> FloatArray | None:
    """The one map of a ``.npy`` (h, w) or of a grey PNG; None where a ``.npy`` (K, h, w) or a ``.npz`` holds several.

    Values are floats in [0, 1], or 8-bit numbers, which are divided by 255.

    Raises:
        UserError: not such a file, of another kind or shape, or values outside [0, 1].

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
            shape, kind = _header(file)
            _check(_like(kind), shape, str(path), (2, 3))
            if len(shape) == 3:
                return None
            # What is claimed is there, before memory for it is asked for.
            if file.seek(0, os.SEEK_END) < kind.itemsize * math.prod(shape):
                raise ValueError("the file ends early")
            file.seek(0)
            return _in_unit(np.lib.format.read_array(file, allow_pickle=False), str(path))
    except UserError:
        raise
    except Exception as error:  # numpy's readers raise many kinds
        raise _damaged(path, error) from error


def load_maps(path: Path, wanted: Collection[str], listed: Sequence[str]) -> tuple[Mapping[str, FloatArray], set[str]]:
    """The maps of some classes in a ``.npz``, by name, or in a ``.npy`` (K, h, w) of the classes ``listed``.

    The second are all classes that the file has. Only those that are wanted are read.

    Raises:
        UserError: as `load_map`, and maps of another number than the classes that are listed.

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
            f"{path}: holds {values.dtype} {values.shape}, maps of {len(values)} classes; expected their names, a line "
            "a class, in classes.txt beside them"
        )
    if len(values) != len(listed):
        raise UserError(
            f"{path}: holds {values.dtype} {values.shape}; expected as many maps as classes.txt names, {len(listed)}"
        )
    named = {name: values[i] for i, name in enumerate(listed) if name in wanted}
    return {name: _in_unit(value, f"{path}: the map of {name!r}") for name, value in named.items()}, set(listed)


def _picture(path: Path) -> FloatArray:
    try:
        values = read_numbers(path)
    except BadImageError as error:
        raise UserError(f"{error}; expected a grey score map of 8 bits") from error
    with path.open("rb") as file:
        depth, kind = file.read(26)[24:]  # of the header, which was read before
    if (depth, kind) != (8, _GREY):
        raise UserError(f"{path}: not grey, or not of 8 bits a pixel; expected a grey score map of 8 bits")
    return _in_unit(values, str(path))


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's readers raise many kinds
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
    except Exception as error:  # numpy's readers raise many kinds
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: not a .npz of arrays ({describe(error)}); expected a map (h, w) by the name of each class"
        ) from error
    return maps, names


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> FloatArray:
    what = f"{path}: the map of {name!r}"
    with archive.open(f"{name}.npy") as file:
        shape, kind = _header(file)
        _check(_like(kind), shape, what, (2,))
    with archive.open(f"{name}.npy") as file:
        return _in_unit(np.lib.format.read_array(file, allow_pickle=False), what)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    return shape, kind


def _check(values: Any, shape: tuple[int, ...], what: str, axes: tuple[int, ...]) -> None:
    expected = "floats in [0, 1] or 8-bit numbers, (h, w)" + (" or (K, h, w)" if 3 in axes else "")
    if not isinstance(values, np.ndarray):
        raise UserError(f"{what}: holds several arrays or objects; expected {expected}")
    fine = np.issubdtype(values.dtype, np.floating) or values.dtype in (np.uint8, np.bool_)
    if len(shape) not in axes or not fine:
        raise UserError(f"{what}: holds {values.dtype} {shape}; expected {expected}")
    if 0 in shape or max(shape[-2:]) > LARGEST_SIDE:
        raise UserError(f"{what}: holds a map of shape {shape}; expected 1 to {LARGEST_SIDE} cells a side")


def _in_unit(values: npt.NDArray[Any], what: str) -> FloatArray:
    """A map in memory, its values checked and in [0, 1]."""
    if values.dtype == np.uint8:
        return np.asarray(values, np.float32) / np.float32(255)
    score_map = np.array(values, np.float32 if values.dtype == np.bool_ else values.dtype, copy=None)
    if score_map.min() >= 0 and score_map.max() <= 1:
        # A copy of what is mapped from the disk.
        return np.array(score_map) if isinstance(values, np.memmap) else score_map
    finite = score_map[np.isfinite(score_map)]
    if finite.size and not (finite.min() >= -_ROUNDING and finite.max() <= 1 + _ROUNDING):
        raise UserError(
            f"{what}: values from {finite.min():g} to {finite.max():g}; expected [0, 1]: store (m - min) / (max - min)"
        )
    return np.asarray(np.clip(score_map, 0, 1), score_map.dtype)
