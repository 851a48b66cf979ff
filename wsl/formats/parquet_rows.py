"""Localizations as rows of Parquet: the format of the shards of large runs, which other systems can also write."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes
from wsl.documents.arrow import load_pyarrow
from wsl.documents.guard import describe
from wsl.errors import UserError
from wsl.limits import stated_size
from wsl.results import Localization
from wsl.stored_maps import StoredMaps

_ROWS = 1024
_SCORES = ("scores", "probabilities")
_COLUMNS = ("id", "path", "width", "height", *_SCORES, "boxes", "points", "maps", "error")
_BOX = ("label", "score", "x0", "y0", "x1", "y1")
EXPECTED = "columns path (or id), width, height, boxes (a list of label, score, x0, y0, x1, y1)"
FAILED = "images that could not be read when they were localized"


def read_parquet_rows(file: Any, name: str, warnings: Counter[str]) -> Iterator[Localization]:
    """Stream the localizations of one Parquet file; rows with an error are counted in ``warnings``.

    ``file`` is passed to pyarrow, ``name`` is the name of the file in messages.

    Raises:
        UserError: the file is not Parquet, a column is missing, or a row has another form.
    """
    pyarrow = load_pyarrow(f"{name}: reading Parquet")
    try:
        with pyarrow.parquet.ParquetFile(file) as opened:
            present = opened.schema_arrow.names
            columns = [column for column in _COLUMNS if column in present]
            if not {"path", "id"} & set(columns) or not {"width", "height", "boxes"} <= set(columns):
                raise UserError(f"{name}: has the columns {', '.join(present[:20])}, expected {EXPECTED}")
            row = 0
            for batch in opened.iter_batches(batch_size=_ROWS, columns=columns):
                for record in batch.to_pylist():
                    if record.get("error"):
                        warnings[FAILED] += 1
                    else:
                        yield _localization(record, f"{name}: row {row}")
                    row += 1
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{name}: not readable as Parquet ({describe(error)}); expected {EXPECTED}") from error


def _localization(record: Mapping[str, Any], where: str) -> Localization:
    try:
        boxes = record["boxes"] or []
        rows = [[box[field] for field in _BOX] for box in boxes]
        scores = {} if (given := _first(record, _SCORES)) is None else _by_name(given)
        points = {} if record.get("points") is None else _points(record["points"])
        return Localization(
            path=Path(record.get("path") or record["id"]),
            id=str(record.get("id") or ""),
            size=stated_size(record["width"], record["height"], "size"),
            scores={name: _finite(score) for name, score in sorted(scores.items(), key=lambda one: -_finite(one[1]))},
            boxes=Boxes(
                xyxy=np.array([row[2:] for row in rows], np.float32).reshape(-1, 4),
                labels=tuple(str(row[0]) for row in rows),
                scores=np.array([row[1] for row in rows], np.float32),
            ),
            points=points,
            stored=_stored(record.get("maps")),
        )
    except UserError as error:
        raise UserError(f"{where}: {error}{_sides(record)}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{where}: {describe(error)}; expected {EXPECTED}") from error


def _sides(record: Mapping[str, Any]) -> str:
    """A hint for boxes that are invalid as two corners but fit the image as a corner and two sides."""
    edges = np.array([[box[field] for field in _BOX[2:]] for box in record["boxes"] or []], np.float64).reshape(-1, 4)
    fits = (edges[:, :2] + edges[:, 2:] <= np.array([record["width"], record["height"]]) + 1).all()
    inverted = (edges[:, 2:] < edges[:, :2]).any()
    return "; as x, y, width, height they fit the image: it looks as if sides were written" if fits and inverted else ""


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((record[name] for name in names if record.get(name) is not None), None)


def _by_name(value: Any) -> dict[str, Any]:
    """Values by name, from a struct, a map (pairs), or a list of structs with a name and a score."""
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


def _stored(value: Any) -> StoredMaps | None:
    if not isinstance(value, dict):  # another system's maps, whose format is unknown
        return None
    return StoredMaps.from_json({**value, "shape": (value["height"], value["width"])})


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number
