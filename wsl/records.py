"""A localization as a line of ``localizations.jsonl``, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.limits import stated_size
from wsl.results import Localization
from wsl.stored_maps import StoredMaps, text_of


def to_record(found: Localization, *, scores: bool = True) -> dict[str, Any]:
    """Plain values, without the `scores` where they are not wanted; maps stay in their own file.

    >>> to_record(Localization(path="a.jpg", size=(4, 2), scores={"dog": 0.5}, boxes=Boxes.empty()))["scores"]
    {'dog': 0.5}
    """
    boxes = found.boxes
    record: dict[str, Any] = {
        "image": found.path.as_posix(),
        "size": list(found.size),
        "scores": {name: float(f"{score:.9g}") for name, score in found.scores.items()} if scores else {},
        "boxes": [
            {"label": label, "score": float(f"{score:.9g}"), "xyxy": [round(edge, 2) for edge in xyxy]}
            for label, score, xyxy in zip(boxes.labels, boxes.scores.tolist(), boxes.xyxy.tolist(), strict=True)
        ],
        "points": {name: [round(float(x), 2), round(float(y), 2)] for name, (x, y) in found.points.items()},
    }
    if found.id != found.path.stem:
        record["id"] = found.id
    if found.stored is not None:
        record["maps"] = found.stored.to_json()
    return record


def from_record(record: Mapping[str, Any]) -> Localization:
    """The inverse of `to_record`.

    Raises:
        UserError: a field is missing or of another kind.

    >>> from_record({"image": "a.jpg", "size": [4, 2], "scores": {}, "boxes": []}).id
    'a'
    """
    try:
        boxes = record["boxes"]
        width, height = record["size"]
        return Localization(
            path=Path(text_of(record["image"])),
            id=text_of(record.get("id", "")),
            size=stated_size(width, height, "size"),
            scores={str(name): _finite(score) for name, score in record["scores"].items()},
            boxes=Boxes(
                xyxy=np.array([box["xyxy"] for box in boxes], np.float32).reshape(-1, 4),
                labels=tuple(text_of(box["label"]) for box in boxes),
                scores=np.array([box["score"] for box in boxes], np.float32),
            ),
            points={str(name): (_finite(x), _finite(y)) for name, (x, y) in record.get("points", {}).items()},
            stored=StoredMaps.from_json(record["maps"]) if record.get("maps") else None,
        )
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"not a localization record ({type(error).__name__}: {error}): expected image, size, scores and "
            "boxes, as wsl-localize writes them"
        ) from error


def _finite(value: Any) -> float:
    if isinstance(value, (str, bool)) or not math.isfinite(number := float(value)):
        raise ValueError(f"{value!r:.40} is not a finite number")
    return number
