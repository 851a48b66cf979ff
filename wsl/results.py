"""What comes out: localizations, metrics and evaluation reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wsl.boxes import Boxes, FloatArray
from wsl.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Localization:
    """What a model found in one image.

    ``size`` is (width, height) of the original image. ``scores`` are the class probabilities, highest first (of
    many classes the best hundred); ``boxes`` the boxes of the classes picked; ``points`` the position (x, y) of the
    maximum of each picked class's raw map, in original pixels. ``maps`` are the picked classes' maps, (h, w) each,
    covering exactly the image: raw, at the network's resolution, or refined. ``map_file`` is where they were stored,
    relative to the results file.

    >>> found = Localization(path="a.jpg", size=(4, 2), scores={"dog": 0.9}, boxes=Boxes.empty())
    >>> Localization.from_json(found.to_json()).scores
    {'dog': 0.9}
    """

    path: Path
    size: tuple[int, int]
    scores: Mapping[str, float]
    boxes: Boxes
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    maps: Mapping[str, FloatArray] | None = None
    map_file: str | None = None
    map_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def id(self) -> str:
        """The file name without its suffix, which is how VOC and the benchmarks name images."""
        return self.path.stem

    def to_json(self) -> dict[str, Any]:
        """Plain values for one line of ``localizations.jsonl``; maps stay in their own file."""
        boxes = self.boxes
        record: dict[str, Any] = {
            "image": self.path.as_posix(),
            "size": list(self.size),
            "scores": {name: float(f"{score:.9g}") for name, score in self.scores.items()},
            "boxes": [
                {
                    "label": boxes.labels[i],
                    "score": float(f"{boxes.scores[i]:.9g}"),
                    "xyxy": [round(float(edge), 2) for edge in boxes.xyxy[i]],
                }
                for i in range(len(boxes))
            ],
            "points": {name: [round(float(x), 2), round(float(y), 2)] for name, (x, y) in self.points.items()},
        }
        if self.map_file is not None:
            record["maps"] = {"file": self.map_file, "labels": list(self.map_labels)}
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Localization:
        """The inverse of `to_json`.

        Raises:
            UserError: a field is missing or of another kind.
        """
        try:
            boxes = record["boxes"]
            width, height = (int(side) for side in record["size"])
            if width < 1 or height < 1:
                raise ValueError(f"size {record['size']}")
            maps = record.get("maps") or {"file": None, "labels": ()}
            return cls(
                path=Path(str(record["image"])),
                size=(width, height),
                scores={str(name): _finite(score) for name, score in record["scores"].items()},
                boxes=Boxes(
                    xyxy=np.array([box["xyxy"] for box in boxes], np.float32).reshape(-1, 4),
                    labels=tuple(str(box["label"]) for box in boxes),
                    scores=np.array([box["score"] for box in boxes], np.float32),
                ),
                points={str(name): (_finite(x), _finite(y)) for name, (x, y) in record.get("points", {}).items()},
                map_file=maps["file"],
                map_labels=tuple(str(label) for label in maps["labels"]),
            )
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"not a localization record ({type(error).__name__}: {error}): expected image, size, scores and "
                "boxes, as wsl-localize writes them"
            ) from error


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of an evaluation, per class and as a mean over the classes that have images behind them.

    ``value`` is in [0, 1]; None where no image counts. ``per_class`` holds only classes with a count; ``counts``
    are the images (or boxes, see the metric) behind each.

    >>> Metric(name="CorLoc", value=0.5, per_class={"dog": 0.5}, counts={"dog": 4}).count
    4
    """

    name: str
    value: float | None
    per_class: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    baseline: float | None = None
    note: str = ""

    @property
    def count(self) -> int:
        """All images behind the number."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """All metrics of one evaluation and what they were computed from.

    >>> EvaluationReport(metrics=(), images=0, source="x.jsonl").to_json()["images"]
    0
    """

    metrics: tuple[Metric, ...]
    images: int
    source: str
    missing: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``evaluation.json``."""
        return {
            "source": self.source,
            "images": self.images,
            "missing": self.missing,
            "metrics": {
                metric.name: {
                    "value": metric.value,
                    "baseline": metric.baseline,
                    "note": metric.note,
                    "per_class": dict(metric.per_class),
                    "counts": dict(metric.counts),
                }
                for metric in self.metrics
            },
        }
