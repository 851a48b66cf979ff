"""`localizations.jsonl`: one `Localization` a line, its raw maps in files of their own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np

from wsl.boxes import FloatArray
from wsl.errors import UserError
from wsl.files import replacing, safe_name
from wsl.results import Localization

FILE_NAME = "localizations.jsonl"


class LocalizationWriter:
    """Appends localizations to a partial file that becomes ``localizations.jsonl`` when all went well.

    A run that is stopped in the middle leaves an older ``localizations.jsonl`` as it was, and what it had
    found in ``localizations.jsonl.partial``.

    >>> import tempfile
    >>> from wsl.boxes import Boxes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with LocalizationWriter(Path(folder)) as writer:
    ...         writer.write(Localization(path="a.jpg", size=(4, 2), scores={"dog": 0.9}, boxes=Boxes.empty()))
    ...     [found.size for found in read_localizations(Path(folder))]
    [(4, 2)]
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self.partial = folder / f"{FILE_NAME}.partial"
        self._file: TextIO | None = None

    def __enter__(self) -> LocalizationWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Line buffered: what was found before a crash is on the disk.
        self._file = self.partial.open("w", encoding="utf-8", newline="\n", buffering=1)
        return self

    def write(self, found: Localization) -> None:
        """Append one line."""
        if self._file is None:
            raise RuntimeError("the writer is not open: use it in a with statement")
        self._file.write(json.dumps(found.to_json(), ensure_ascii=False, allow_nan=False) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if kind is None:
            self.partial.replace(self.path)


class MapStore:
    """Raw class maps of many images: ``maps/<image>.npy``, float16, (classes, h, w) at the network's resolution.

    Images of one name from several folders get a number behind it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: dict[str, int] = {}

    def write(self, found: Localization) -> Localization:
        """Store the maps of one localization and return it with their place in it."""
        if not found.maps:
            return found
        name = safe_name(found.path.stem)
        count = self._taken[name] = self._taken.get(name, 0) + 1
        name = name if count == 1 else f"{name}~{count}"
        labels = tuple(found.maps)
        stack = np.stack([found.maps[label] for label in labels])
        limit = np.finfo(np.float16).max
        with replacing(self.folder / "maps" / f"{name}.npy") as temporary:
            np.save(temporary, np.clip(stack, -limit, limit).astype(np.float16), allow_pickle=False)
        return dataclasses.replace(found, map_file=f"maps/{name}.npy", map_labels=labels)


def find_localizations(path: Path) -> Path:
    """The results file that `path` names: the file itself, or the one in a folder.

    Raises:
        UserError: there is none.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return file
    partial = file.with_name(f"{FILE_NAME}.partial")
    hint = f"; an interrupted run left {partial}: name that file to use it" if partial.is_file() else ""
    raise UserError(f"no localizations at {path}: expected {FILE_NAME} as wsl-localize writes it{hint}")


def read_localizations(path: Path, *, maps: bool = True) -> Iterator[Localization]:
    """Stream localizations from a results file or its folder, with their maps when those were stored.

    Without ``maps`` only their place is given.

    Raises:
        UserError: a line is not a localization, or a map file is missing, outside the folder or malformed.
    """
    file = find_localizations(path)
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                found = Localization.from_json(json.loads(line))
                yield _with_maps(found, file.parent) if maps else found
            except (json.JSONDecodeError, RecursionError) as error:
                raise UserError(f"{file}:{number}: not JSON ({error}): was the file cut off?") from error
            except UserError as error:
                raise UserError(f"{file}:{number}: {error}") from error


def _with_maps(found: Localization, root: Path) -> Localization:
    if found.map_file is None:
        return found
    place = (root / found.map_file).resolve()
    if not place.is_relative_to(root.resolve()):
        raise UserError(f"map file {found.map_file!r} lies outside the results folder")
    if not place.is_file():
        raise UserError(f"map file {found.map_file} is missing: run wsl-localize with --maps again")
    try:
        stack = np.load(place, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"map file {found.map_file} is not a .npy array: {error}") from error
    if stack.ndim != 3 or len(stack) != len(found.map_labels) or not np.issubdtype(stack.dtype, np.floating):
        raise UserError(
            f"map file {found.map_file} holds {stack.dtype} {stack.shape}, expected floats "
            f"({len(found.map_labels)}, h, w)"
        )
    maps: dict[str, FloatArray] = dict(zip(found.map_labels, stack.astype(np.float32), strict=True))
    return dataclasses.replace(found, maps=maps)
