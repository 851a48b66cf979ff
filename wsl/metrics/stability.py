"""Agreement of maps and boxes with those of the mirror image: a check that needs no annotated boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.metrics.evidence import Evidence
from wsl.metrics.overlap import box_iou
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.results import Localization, Metric


def map_correlation(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Pearson's correlation of two maps of the same shape; 0 if one of them is constant.

    Raises:
        UserError: the shapes differ, or the maps are not numbers.

    >>> round(map_correlation([[0, 1], [2, 3]], [[0, 2], [4, 6]]), 6), map_correlation([[1, 1]], [[0, 1]])
    (1.0, 0.0)
    """
    a, b = as_numbers(first, "maps"), as_numbers(second, "maps")
    if a.shape != b.shape:
        raise UserError(f"maps have shapes {a.shape} and {b.shape}, expected one shape")
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread > 0 else 0.0


class FlipStability(Statistic):
    """Agreement of maps and boxes of an image with those of its mirror image, each averaged over classes.

    A trial is an (image, class) pair: each class in ``sample.labels`` with a finite map in both; the note counts those
    without. The mirror image's map is mirrored back and correlated with the image's own (negative correlations count as
    0); the best boxes are compared by IoU, 0 if one is missing. High values mean that a model responds to image content
    rather than to positions, not that it localizes the correct objects.

    Args:
        mirrored: A function from the path of an image to the localization of its mirror image, in mirrored pixels.

    >>> from wsl import Boxes
    >>> from wsl.samples import Sample
    >>> found = Localization(path="a.jpg", size=(4, 2), scores={}, boxes=Boxes.empty(), maps={"dog": [[0, 1], [2, 3]]})
    >>> metric = FlipStability(["dog"], mirrored=lambda path: found)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"]))
    >>> [(metric.name, round(metric.value, 2)) for metric in metric.compute()]
    [('flip correlation', 0.6), ('flip box IoU', 0.0)]
    """

    columns = 2
    lost, left_out = "without a map: left out", True
    sum_type = np.float64

    def __init__(self, classes: Sequence[str], *, mirrored: Callable[[Path], Localization], **settings: Any) -> None:
        super().__init__(classes, **settings)
        self._mirrored = mirrored

    def observe(self, seen: Evidence) -> Observation:
        """The agreement of each class.

        Raises:
            UserError: the image cannot be read.
        """
        if not seen.sample.labels:
            return Observation()
        other = Evidence(self._mirrored(seen.sample.path), seen.sample, self.index)
        rows = []
        for label in seen.sample.labels:
            mine, theirs = seen.score_map(label), other.score_map(label)
            if mine is None or theirs is None:
                rows.append(Row(label, np.zeros(self.columns), missing=True))
                continue
            boxes = seen.box(label), other.box(label)
            overlap = 0.0
            if boxes[0] is not None and boxes[1] is not None:
                x0, y0, x1, y1 = boxes[1].tolist()
                width = seen.found.size[0]
                overlap = float(box_iou(boxes[0], [width - x1, y0, width - x0, y1])[0, 0])
            rows.append(Row(label, [max(0.0, map_correlation(mine, np.asarray(theirs)[:, ::-1])), overlap]))
        return Observation(rows)

    def report(self, totals: Totals) -> tuple[Metric, Metric]:
        """The two means; no value if no pair has maps."""
        return self.rate(totals, "flip correlation", 0), self.rate(totals, "flip box IoU", 1)
