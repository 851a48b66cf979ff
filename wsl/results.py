"""Results: localizations, metrics and evaluation reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes, FloatArray
from wsl.stored_maps import StoredMaps


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Localization:
    """A model's results for one image.

    ``path`` is the image's file, or its id if it had none; ``id`` is the image's name in data sets, by default the file
    name without its suffix. ``size`` is (width, height) of the original image. ``scores`` are the class probabilities,
    highest first; of many classes, only the best hundred and the localized ones. ``boxes`` are the boxes of the
    localized classes; ``points`` the position (x, y) of the maximum of each localized class's raw map, in original
    pixels. ``maps`` are the maps of the localized classes, (h, w) each, covering exactly the image: raw, at the
    network's resolution, or refined. ``stored`` says where they are on disk, if they are. ``image`` is the input: a
    path, bytes, an array, a Pillow image or a tensor.

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
    stored: StoredMaps | None = None
    id: str = ""
    image: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not self.id:
            object.__setattr__(self, "id", self.path.stem)
        if self.image is None:
            object.__setattr__(self, "image", self.path)

    def heatmap(self, label: str | None = None) -> FloatArray:
        """The heatmap of a localized class: its map resized to the image and normalised to [0, 1].

        Without `label`, it is that of the localized class with the highest probability.

        Shape:
            (H, W) float32 for an image of ``size`` (W, H).

        Raises:
            UserError: the class was not localized, or the localization has no maps.

        >>> found = Localization(path="a.jpg", size=(4, 1), scores={}, boxes=Boxes.empty(), maps={"dog": [[2, 6]]})
        >>> found.heatmap("dog").tolist()
        [[0.0, 0.25, 0.75, 1.0]]
        """
        from wsl.draw.localizations import localization_heatmap

        return localization_heatmap(self, label)

    def overlay(
        self, label: str | None = None, *, image: Any = None, opacity: float = 0.5, boxes: bool = True
    ) -> npt.NDArray[np.uint8]:
        """The heatmap of a localized class and its boxes over the image, which is read again from ``image``.

        Without `label`, the heatmap is that of the localized class with the highest probability, and the boxes are
        those of all classes. `image` replaces the localization's own, and may be a resized copy.

        Shape:
            (H, W, 3) uint8 RGB, the size of the image.

        Raises:
            BadImageError: the image cannot be read again.
            UserError: the class was not localized, the localization has no maps, or the image is a different one.
        """
        from wsl.draw.localizations import localization_overlay

        return localization_overlay(self, label, image=image, opacity=opacity, boxes=boxes)

    def __repr__(self) -> str:
        best = sorted(self.scores.items(), key=lambda item: -item[1])[:3]
        scores = [*(f"{name!r}: {score:.2f}" for name, score in best), *["..."][: len(self.scores) > 3]]
        count = len(self.boxes)
        return (
            f"Localization(id={self.id!r}, size={self.size}, scores={{{', '.join(scores)}}}, "
            f"{count} {'box' if count == 1 else 'boxes'})"
        )

    def _repr_html_(self) -> str:
        from wsl.draw.notebook import localization_html

        return localization_html(self)

    def to_json(self, *, scores: bool = True) -> dict[str, Any]:
        """Plain values for one line of ``localizations.jsonl``, optionally without `scores`.

        Maps are stored in their own file.
        """
        from wsl.records import to_record

        return to_record(self, scores=scores)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Localization:
        """The inverse of `to_json`.

        Raises:
            UserError: a field is missing or has another type.
        """
        from wsl.records import from_record

        return from_record(record)

    def to_supervision(self, classes: Sequence[str] | None = None) -> Any:
        """The boxes as ``supervision.Detections``, as `Boxes.to_supervision` gives them."""
        return self.boxes.to_supervision(classes)

    def to_fiftyone(self) -> Any:
        """The boxes as ``fiftyone.Detections``: a sample's field of predictions.

        Raises:
            UserError: fiftyone is not installed.
        """
        from wsl.bridges import to_fiftyone

        return to_fiftyone(self)

    def to_coco(
        self, classes: Sequence[str] | None = None, *, image_id: int | str | None = None
    ) -> list[dict[str, Any]]:
        """The boxes as annotations of COCO's results format, which ``pycocotools`` and ``torchmetrics`` read.

        ``category_id`` is the position of the class in `classes`, counted from 1; without `classes`, in the sorted
        names of the boxes' own classes. `image_id` is the localization's ``id`` by default.

        Raises:
            UserError: a box of a class that is not in `classes`.

        >>> dog = Boxes(xyxy=[[1, 2, 4, 6]], labels=["dog"], scores=[0.5])
        >>> Localization(path="a.jpg", size=(8, 8), scores={}, boxes=dog).to_coco(["cat", "dog"], image_id=7)
        [{'image_id': 7, 'category_id': 2, 'bbox': [1.0, 2.0, 3.0, 4.0], 'area': 12.0, 'iscrowd': 0, 'score': 0.5}]
        """
        from wsl.bridges import to_coco

        return to_coco(self, classes, image_id=image_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number of an evaluation, per class and as a mean over the classes that were measured.

    ``value`` is in [0, 1]; None if no image counts. ``per_class`` holds only classes with a count; ``counts`` are the
    numbers of images (or boxes, see the metric) of each. ``interval`` holds 95 % of the values of resampled data sets
    (a bootstrap over images); None without resampling. ``baseline`` is the value of the image's centre (a box, a point,
    a map; chance for classification), ``whole_image`` that of the whole image as one box or mask. ``lower_is_better``
    is True for errors. ``images`` is the number of images measured (0 if not counted), ``replicates`` are the values of
    the resampled data sets, with which runs on the same images are compared (`wsl.compare`).

    >>> Metric(name="CorLoc", value=0.5, per_class={"dog": 0.5}, counts={"dog": 4}).count
    4
    """

    name: str
    value: float | None
    per_class: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    baseline: float | None = None
    note: str = ""
    interval: tuple[float, float] | None = None
    whole_image: float | None = None
    images: int = 0
    lower_is_better: bool = False
    replicates: npt.NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def count(self) -> int:
        """The sum of all counts."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxOrigin:
    """How the boxes of an evaluation were drawn, and where these settings come from.

    ``origin`` is "given", "the default", "selected on SPLIT", or another source of the boxes; ``threshold`` and
    ``box_rule`` are None if another system drew the boxes. ``by_metric`` are thresholds that were selected for one
    metric, one per IoU level.

    >>> str(BoxOrigin(threshold=0.3, box_rule="largest", origin="selected on train"))
    'threshold 0.3 (largest component), selected on train'
    """

    origin: str
    threshold: float | None = None
    box_rule: str | None = None
    by_metric: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.threshold is None:
            return self.origin
        parts = {
            "largest": "largest component",
            "peak": "component of the peak",
            "all": "all components",
            "nested": "nested components",
            None: "unknown components",
        }
        return f"threshold {self.threshold:g} ({parts[self.box_rule]}), {self.origin}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """All metrics of one evaluation and what they were computed from.

    ``warnings`` counts what was tolerated in reading, by kind, ``failures`` the (image, class) pairs that were not
    localized, by reason; ``drawn`` says how maps were placed on the image if not by default; ``seconds`` is the run
    time by stage. ``computed_by`` maps a metric's name to its name in ``--metrics``.

    >>> EvaluationReport(metrics=(), images=0, source="x.jsonl").to_json()["images"]
    0
    """

    metrics: tuple[Metric, ...]
    images: int
    source: str
    missing: int = 0
    protocol: str = "default"
    drawn: str = ""
    boxes: BoxOrigin | None = None
    warnings: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    computed_by: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        values = ", ".join(f"{one.name} {'–' if one.value is None else f'{one.value:.3f}'}" for one in self.metrics)
        return f"EvaluationReport({self.source!r}, {self.images} images: {values or 'no metric'})"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``evaluation.json``, without the run time, so that two runs write the same file."""
        return {
            "source": self.source,
            "images": self.images,
            "missing": self.missing,
            "protocol": self.protocol + self.drawn,
            "boxes": None if self.boxes is None else dataclasses.asdict(self.boxes),
            "warnings": dict(self.warnings),
            "failures": dict(self.failures),
            "metrics": {
                metric.name: {
                    "value": metric.value,
                    "interval": None if metric.interval is None else list(metric.interval),
                    "baseline": metric.baseline,
                    "whole_image": metric.whole_image,
                    "note": metric.note,
                    "per_class": dict(metric.per_class),
                    "counts": dict(metric.counts),
                    "images": metric.images,
                }
                for metric in self.metrics
            },
        }
