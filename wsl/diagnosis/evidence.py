"""The results of each step for one image, on which the checks are based."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes, FloatArray
from wsl.config import BoxConfig
from wsl.images import Geometry
from wsl.images.facts import ImageFacts
from wsl.maps import boxes_from_map, normalise
from wsl.maps.resolution import working_heatmap
from wsl.results import Localization

UInt8Array = npt.NDArray[np.uint8]
_RESOLUTION = 256


class Decoded(NamedTuple):
    """The decoded picture, upright, (H, W, 3) uint8, and the facts from the header of its file."""

    pixels: UInt8Array
    facts: ImageFacts


class Seen(NamedTuple):
    """The network's input as a picture, (S, S, 3) uint8, with its geometry and normalisation."""

    pixels: UInt8Array
    geometry: Geometry
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Hidden(NamedTuple):
    """The probability of the class for the image, without its hottest quarter, and without its coldest quarter.

    Hidden pixels have the mean colour of the image.
    """

    nothing: float
    hottest: float
    coldest: float


class Above(NamedTuple):
    """The part of a map above a threshold: its share of the image, and its number of components of sufficient area."""

    share: float
    components: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The results of each step for one image; None for steps that were not reached because of ``failure``.

    ``scores`` holds the probabilities of all classes, highest first; ``exclusive`` is True if they come from one
    softmax. ``found`` is the result of wsl-localize for the class ``label``, and ``raw`` the map of the network before
    refinement. ``boxes`` holds the settings of the boxes. ``seconds`` holds the times of decoding, network and
    refinement. ``method`` says how maps are made, and ``arithmetic`` in which dtype. ``accelerated`` is whether the
    machine has a GPU that torch can use.
    """

    image: Path
    decoded: Decoded | None = None
    seen: Seen | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    exclusive: bool = True
    label: str = ""
    raw: FloatArray | None = None
    found: Localization | None = None
    boxes: BoxConfig = field(default_factory=lambda: BoxConfig().resolved())
    refine: str = "none"
    hidden: Hidden | None = None
    method: str = ""
    device: str = "cpu"
    arithmetic: str = "float32"
    accelerated: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    failure: Exception | None = None

    @property
    def score_map(self) -> FloatArray | None:
        """The map from which boxes are drawn, (h, w)."""
        return None if self.found is None or self.found.maps is None else self.found.maps[self.label]

    @property
    def threshold(self) -> float:
        """The threshold of the boxes."""
        assert self.boxes.threshold is not None
        return self.boxes.threshold

    @property
    def contrast(self) -> float:
        """The range of the network's map as a fraction of its largest magnitude; 0 if it is constant or not finite."""
        if self.raw is None or not np.isfinite(self.raw).all():
            return 0.0
        largest = float(np.abs(self.raw).max())
        return float(self.raw.max() - self.raw.min()) / largest if largest else 0.0

    @property
    def blank(self) -> bool:
        """Whether the map from which boxes are drawn has no contrast, so that there are no boxes."""
        return self.score_map is not None and not normalise(self.score_map).any()

    def above(self, threshold: float) -> Above:
        """The part of the map above a threshold."""
        assert self.score_map is not None
        assert self.found is not None
        heat, _ = working_heatmap(self.score_map, self.found.size, _RESOLUTION)
        return Above(float((heat > threshold).mean()), len(self.components(threshold)))

    def components(self, threshold: float) -> Boxes:
        """The boxes of all components above a threshold, in pixels of the image."""
        assert self.score_map is not None
        assert self.found is not None
        assert self.boxes.min_area is not None
        return boxes_from_map(
            self.score_map,
            threshold=threshold,
            rule="all",
            size=self.found.size,
            label=self.label,
            min_area=self.boxes.min_area,
        )

    def share(self, boxes: Boxes) -> FloatArray:
        """The areas of boxes as fractions of the image."""
        assert self.found is not None
        return boxes.area / np.float32(self.found.size[0] * self.found.size[1])

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """Three thresholds: a lower one, that of the boxes, and a higher one."""
        return round(self.threshold / 2, 3), self.threshold, round((1 + self.threshold) / 2, 3)
