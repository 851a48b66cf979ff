"""Localizations as Parquet, in one file or many parts with one row per image, like the shards of a large run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from wsl.documents import guarded
from wsl.errors import UserError
from wsl.formats.exchange.parsing import files_below
from wsl.formats.parquet_rows import EXPECTED, read_parquet_rows
from wsl.formats.predictions.matching import Pairs, matched
from wsl.samples import SampleSet


@guarded(EXPECTED)
def read_parquet_results(place: Path, samples: SampleSet, warnings: Counter[str], *, split: str) -> Pairs:
    """Stream the localizations of a Parquet file, or of all ``*.parquet`` in a folder and below.

    Columns: ``path`` or ``id``, ``width`` and ``height``; ``scores`` (or ``probabilities``), the probabilities of
    classes as a map, a struct or a list of structs (name, score); ``boxes``, a list of structs (label, score, x0, y0,
    x1, y1) in pixels; ``points``, a map or struct of (x, y), or a list of structs (label, x, y); ``error``, why an
    image could not be read. Requires pyarrow, which is in the extra ``shards``. Parts of `wsl-localize` are read by
    `wsl.formats.read_localizations`.

    Tolerated problems are counted in ``warnings``: rows with an error and images without a row (misses), and
    localizations of images outside the split (left out).

    Raises:
        UserError: pyarrow is not installed; the file does not exist or is not Parquet; a column is missing; a row has
            another form; or as for `wsl.formats.predictions.matching.matched`.
    """
    files = parquet_files(place)
    if not files:
        raise UserError(f"{place}: no .parquet file, expected one or a folder of parts")
    found = (one for file in files for one in read_parquet_rows(file, str(file), warnings))
    return matched(found, samples, split, warnings, place)


def parquet_files(place: Path) -> list[Path]:
    """The Parquet files at a path, without those still being written, whose names start with ``_`` or ``.``.

    >>> parquet_files(Path("no such folder"))
    []
    """
    if place.is_file():
        return [place] if place.suffix.lower() == ".parquet" else []
    return [path for path in files_below(place, ".parquet") if not path.name.startswith("_")]
