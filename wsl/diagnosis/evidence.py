"""What is known of one image on its way to boxes."""

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
    """The picture that was read, upright, (H, W, 3) uint8, and what its file's header says."""

    pixels: UInt8Array
    facts: ImageFacts


class Seen(NamedTuple):
    """The network's input as a picture, (S, S, 3) uint8, and where in it the image lies."""

    pixels: UInt8Array
    geometry: Geometry
    resize: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Hidden(NamedTuple):
    """The class's probability as the image is, without its hottest quarter, and without its coldest quarter.

    What is hidden has the mean colour of the image.
    """

    nothing: float
    hottest: float
    coldest: float


class Above(NamedTuple):
    """What exceeds a threshold: its share of the image, and the number of components of sufficient area."""

    share: float
    components: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One image with everything that was learnt of it; what is None was not reached, because of ``failure``.

    ``scores`` are the probabilities of all classes, highest first, ``exclusive`` those of one softmax. ``found`` is
    what wsl-localize finds of the class ``label``, and ``raw`` the map that the network gives, before it is refined.
    ``boxes`` are the settings that drew the boxes. ``seconds`` are those of decoding, of the network, and of the
    refinement. ``method`` says how maps are made, ``arithmetic`` in which floating type. ``accelerated`` is whether
    the machine has a GPU that torch can use.
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
        """The map that boxes are drawn of, (h, w)."""
        return None if self.found is None or self.found.maps is None else self.found.maps[self.label]

    @property
    def threshold(self) -> float:
        """The threshold that the boxes are drawn with."""
        assert self.boxes.threshold is not None
        return self.boxes.threshold

    @property
    def contrast(self) -> float:
        """The range of the network's map as a fraction of its largest magnitude; 0 for a constant one, or a NaN."""
        if self.raw is None or not np.isfinite(self.raw).all():
            return 0.0
        largest = float(np.abs(self.raw).max())
        return float(self.raw.max() - self.raw.min()) / largest if largest else 0.0

    @property
    def blank(self) -> bool:
        """Whether the map that boxes are drawn of has no contrast, so that there are none."""
        return self.score_map is not None and not normalise(self.score_map).any()

    def above(self, threshold: float) -> Above:
        """What of the map exceeds a threshold."""
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
        """The areas of boxes as fractions of the image's."""
        assert self.found is not None
        return boxes.area / np.float32(self.found.size[0] * self.found.size[1])

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """The own threshold between a lower and a higher one."""
        return round(self.threshold / 2, 3), self.threshold, round((1 + self.threshold) / 2, 3)
