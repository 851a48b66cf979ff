"""Localizations as Parquet, in one file or many parts: a row an image, as shards of a large run are kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes
from wsl.documents import guarded
from wsl.errors import UserError
from wsl.formats.exchange.parsing import files_below
from wsl.formats.predictions.matching import Pairs, matched
from wsl.results import Localization
from wsl.samples import SampleSet

_ROWS = 1024
_SCORES = ("scores", "probabilities")
_COLUMNS = ("id", "path", "width", "height", *_SCORES, "boxes", "points", "error")
_BOX = ("label", "score", "x0", "y0", "x1", "y1")
_EXPECTED = "columns path (or id), width, height, boxes (a list of label, score, x0, y0, x1, y1)"


@guarded(_EXPECTED)
def read_parquet_results(place: Path, samples: SampleSet, warnings: Counter[str], *, split: str) -> Pairs:
    """The localizations of a Parquet file, or of all ``*.parquet`` in a folder and below; rows are read as they come.

    Columns: ``path`` or ``id``, ``width`` and ``height``; ``scores`` (or ``probabilities``), a class's probability as
    a map, a struct or a list of structs (name, score); ``boxes``, a list of structs (label, score, x0, y0, x1, y1) in
    pixels; ``points``, a map or struct of (x, y), or a list of structs (label, x, y); ``error``, why an image could not
    be read. Needs pyarrow, which the extra ``parquet`` brings.

    What is tolerated is counted in ``warnings``: rows with an error, and images without a row (misses); localizations
    of images outside the split (left out).

    Raises:
        UserError: pyarrow is not installed; no such file, not Parquet, a column missing; a row of another form, or
            what `wsl.formats.predictions.matching.matched` refuses.
    """
    files = parquet_files(place)
    if not files:
        raise UserError(f"{place}: no .parquet file, expected one or a folder of parts")
    return matched(_read(files, warnings), samples, split, warnings, place)


def parquet_files(place: Path) -> list[Path]:
    """The parts that a path names, without those that are still written, whose names start with ``_`` or ``.``.

    >>> parquet_files(Path("no such folder"))
    []
    """
    if place.is_file():
        return [place] if place.suffix.lower() == ".parquet" else []
    return [path for path in files_below(place, ".parquet") if not path.name.startswith("_")]


def _read(files: list[Path], warnings: Counter[str]) -> Iterator[Localization]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(
            f"{files[0]}: reading Parquet needs pyarrow, which is not installed: pip install 'wsl-toolkit[parquet]'"
        ) from error
    for file in files:
        try:
            with parquet.ParquetFile(file) as opened:
                present = opened.schema_arrow.names
                columns = [name for name in _COLUMNS if name in present]
                if not {"path", "id"} & set(columns) or not {"width", "height", "boxes"} <= set(columns):
                    raise UserError(f"{file}: has the columns {', '.join(present[:20])}, expected {_EXPECTED}")
                row = 0
                for batch in opened.iter_batches(batch_size=_ROWS, columns=columns):
                    for record in batch.to_pylist():
                        if record.get("error"):
                            warnings["images that could not be read when they were localized"] += 1
                        else:
                            yield _localization(record, f"{file}: row {row}")
                        row += 1
        except (OSError, pyarrow.ArrowException) as error:
            raise UserError(f"{file}: not readable as Parquet ({str(error)[:200]!r}); expected {_EXPECTED}") from error


def _localization(record: Mapping[str, Any], where: str) -> Localization:
    try:
        boxes = record["boxes"] or []
        rows = [[box[field] for field in _BOX] for box in boxes]
        scores = {} if (given := _first(record, _SCORES)) is None else _by_name(given)
        points = {} if record.get("points") is None else _points(record["points"])
        return Localization(
            path=Path(record.get("path") or record["id"]),
            size=(_side(record["width"]), _side(record["height"])),
            scores={name: _finite(score) for name, score in sorted(scores.items(), key=lambda one: -_finite(one[1]))},
            boxes=Boxes(
                xyxy=np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
                labels=tuple(str(row[0]) for row in rows),
                scores=np.array([row[1] for row in rows], np.float32),
            ),
            points=points,
        )
    except UserError as error:
        raise UserError(f"{where}: {error}{_sides(record)}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{where}: {type(error).__name__}: {error}; expected {_EXPECTED}") from error


def _sides(record: Mapping[str, Any]) -> str:
    """A hint where boxes that are refused as corners would do as a corner and sides."""
    edges = np.array([[box[field] for field in _BOX[2:]] for box in record["boxes"] or []], np.float64).reshape(-1, 4)
    fits = (edges[:, :2] + edges[:, 2:] <= np.array([record["width"], record["height"]]) + 1).all()
    inverted = (edges[:, 2:] < edges[:, :2]).any()
    return "; as x, y, width, height they fit the image: it looks as if sides were written" if fits and inverted else ""


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _by_name(value: Any) -> dict[str, Any]:
    """Values by name, of a struct, a map (pairs), or a list of structs with a name and a score."""
    if isinstance(value, dict):
        return {str(name): one for name, one in value.items() if one is not None}
    pairs = (
        (one["name"] if "name" in one else one["label"], one["score"]) if isinstance(one, dict) else one
        for one in value
    )
    return {str(name): one for name, one in pairs}


def _points(value: Any) -> dict[str, tuple[float, float]]:
    if isinstance(value, dict):
        items = [(name, one) for name, one in value.items() if one is not None]
    else:
        items = [(one["label"], one) if isinstance(one, dict) else one for one in value]
    return {str(name): _xy(one) for name, one in items}


def _xy(value: Any) -> tuple[float, float]:
    x, y = (value["x"], value["y"]) if isinstance(value, dict) else value
    return _finite(x), _finite(y)


def _side(value: Any) -> int:
    side = int(value)
    if side < 1:
        raise ValueError(f"a side of {value} pixels")
    return side


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number
