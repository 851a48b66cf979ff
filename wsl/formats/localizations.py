"""`localizations.jsonl`: one `Localization` per line, with its raw maps in files beside it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, TextIO

from wsl.checkpoints import is_run
from wsl.documents import json_lines, located, reading
from wsl.errors import RunError, UserError, quoted
from wsl.files import sync, sync_folder
from wsl.formats.map_shards import MapShelf
from wsl.formats.shards.reading import count_rows, holds_parts, read_parts
from wsl.formats.shards.storage import is_remote
from wsl.results import Localization

FILE_NAME = "localizations.jsonl"
PARTIAL = f"{FILE_NAME}.partial"
"""Name of the results of an unfinished run."""
RECORD = "localize.json"
"""Name of the file with the settings of the run, beside its results."""
_BUFFER = 1 << 20
_EXPECTED = "localizations as wsl-localize writes them: was the file cut off?"


class LocalizationWriter:
    """Writer that appends localizations to a partial file, and renames it to ``localizations.jsonl`` on success.

    All localizations, and the maps to which they refer, are synced to disk before the file is renamed. A run that is
    stopped before does not modify an older ``localizations.jsonl`` and leaves its own results in
    ``localizations.jsonl.partial``, of which the first `kept` bytes are retained if the run is resumed
    (`wsl.formats.resuming`).

    >>> import tempfile
    >>> from wsl.boxes import Boxes
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with LocalizationWriter(Path(folder)) as writer:
    ...         writer.write(Localization(path="a.jpg", size=(4, 2), scores={"dog": 0.9}, boxes=Boxes.empty()))
    ...     [found.size for found in read_localizations(Path(folder))]
    [(4, 2)]
    """

    def __init__(self, folder: Path, *, kept: int = 0) -> None:
        self.path = folder / FILE_NAME
        self.partial = partial_file(folder)
        self._kept = kept
        self._file: TextIO | None = None
        self._written = 0.0
        self._templates = _Templates(ensure_ascii=False)
        self._shards: set[str] = set()

    def __enter__(self) -> LocalizationWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._kept:
            os.truncate(self.partial, self._kept)
        mode: Literal["a", "w"] = "a" if self._kept else "w"
        self._file = self.partial.open(mode, encoding="utf-8", newline="\n", buffering=_BUFFER)
        self._written = time.monotonic()
        return self

    def write(self, found: Localization) -> None:
        """Append one line."""
        if self._file is None:
            raise RuntimeError("the writer is not open: use it in a with statement")
        text = _line(found, self._templates)
        if not _is_unicode(text):  # JSON's escapes preserve a file name that is not UTF-8
            text = _line(found, _Templates(ensure_ascii=True))
        self._file.write(text + "\n")
        if found.stored is not None:
            self._shards.add(found.stored.file)
        # Flush once a second, so that a crash loses little. Flushing every line would let other threads interrupt.
        if time.monotonic() - self._written > 1:
            self._file.flush()
            self._written = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if kind is None:
            for file in (*(self.path.parent / shard for shard in sorted(self._shards)), self.partial):
                sync(file)
            self.partial.replace(self.path)
            sync_folder(self.path.parent)


def partial_file(folder: Path) -> Path:
    """The file to which a run writes until it is finished.

    >>> partial_file(Path("found")).name
    'localizations.jsonl.partial'
    """
    return folder / PARTIAL


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def find_localizations(path: str | Path) -> Path:
    """The results at `path`: a JSON Lines file or a part, the JSON Lines file in a folder, or a folder of parts.

    Raises:
        UserError: there are no results, or the folder contains both kinds.
    """
    path = Path(path)
    if holds_parts(path):
        if not is_remote(path) and (path / FILE_NAME).is_file():
            raise UserError(f"{path} holds {FILE_NAME} and parts: name that file, or a folder that has only parts")
        return path
    file = path / FILE_NAME if path.is_dir() else path
    if file.is_file():
        return file
    if is_run(path):
        raise UserError(
            f"{path} is a run, without localizations: wsl-localize makes them with --weights {quoted(path)}, and "
            "wsl-evaluate takes a run as --weights"
        )
    partial = partial_file(file.parent)
    hint = f"; an interrupted run left {partial}: name that file to use it" if partial.is_file() else ""
    raise UserError(f"no localizations at {path}: expected {FILE_NAME} as wsl-localize writes it{hint}")


def results_folder(results: Path) -> Path:
    """The folder of results from `find_localizations`, which also has their settings and maps.

    >>> results_folder(Path("found/localizations.jsonl")).name
    'found'
    """
    return results if is_remote(results) or results.is_dir() else results.parent


def count_localizations(results: Path) -> int:
    """The number of localizations in results from `find_localizations`."""
    if holds_parts(results):
        return count_rows(results)
    with results.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _line(found: Localization, templates: _Templates) -> str:
    """The JSON of `Localization.to_json`, with all scores formatted at once, which would otherwise dominate the time.

    Raises:
        RunError: a score is not finite.

    >>> from wsl.boxes import Boxes
    >>> found = Localization(path="a.jpg", size=(4, 2), scores={"100 %": 1 / 3}, boxes=Boxes.empty())
    >>> json.loads(_line(found, _Templates(ensure_ascii=False))) == found.to_json()
    True
    """
    values = tuple(found.scores.values())
    if not math.isfinite(sum(values)):
        raise RunError(f"{found.path}: a score is not finite: check the model's weights, or try --precision fp32")
    scores = ", ".join(map(templates.__getitem__, found.scores)) % values
    record = json.dumps(found.to_json(scores=False), ensure_ascii=templates.ensure_ascii, allow_nan=False)
    # Quotes inside strings are escaped with a backslash, so this match is the key.
    before, _, after = record.partition('"scores": {}')
    return f'{before}"scores": {{{scores}}}{after}'


class _Templates(dict[str, str]):
    """Format strings for the score of each class: the quoted name, and nine digits."""

    def __init__(self, ensure_ascii: bool) -> None:
        super().__init__()
        self.ensure_ascii = ensure_ascii

    def __missing__(self, name: str) -> str:
        quoted = json.dumps(name, ensure_ascii=self.ensure_ascii)
        self[name] = template = quoted.replace("%", "%%") + ": %.9g"
        return template


def read_localizations(
    path: str | Path, *, maps: bool = True, warnings: Counter[str] | None = None
) -> Iterator[Localization]:
    """Stream localizations from a results file, its folder or a folder of parts, with their maps if those were stored.

    Without ``maps``, only the places of the maps are given. Images recorded as failed are counted in ``warnings``.

    Raises:
        UserError: a line is not a localization, or a map file is missing, outside the folder or malformed.
    """
    file = find_localizations(path)
    if holds_parts(file):
        yield from read_parts(file, maps=maps, warnings=warnings)
        return
    shelf = MapShelf(file.parent)
    for number, record in json_lines(file, _EXPECTED):
        with located(f"{file}:{number}"), reading(f"{file}:{number}", _EXPECTED):
            found = Localization.from_json(record)
            stored = found.stored if maps else None
            complete = found if stored is None else dataclasses.replace(found, maps=shelf.read(stored))
        yield complete
