"""Pixel average precision: whether a map's high values lie on the object's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.centre import centre_gaussian
from wsl.errors import UserError
from wsl.maps import Protocol, heatmap
from wsl.maps.overlaps import require_protocol
from wsl.metrics.annotated_masks import Classes
from wsl.metrics.benchmark_input import SIDE, benchmark_input
from wsl.metrics.bootstrap import Doubles
from wsl.metrics.class_mean import with_interval
from wsl.metrics.evidence import Evidence
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.results import Metric

NUM_BINS = 1001
"""Edges of the bins: a thousand thresholds 0, 0.001, …, and 1, which is above all of them."""

Counts = npt.NDArray[np.int64]
_EDGES = np.append(np.arange(0, 1, 0.001), 1.0)


def score_histograms(scores: npt.ArrayLike, foreground: npt.ArrayLike, ignored: npt.ArrayLike | None = None) -> Counts:
    """The number of background and foreground pixels with a score in each bin; ignored pixels are in neither.

    Bin i holds the scores from ``i / 1000`` to below the next edge, the last bin the score 1.

    Shape:
        Three arrays of the same shape, scores in [0, 1]; the result is (2, 1001), background first.

    Raises:
        UserError: shapes differ, or a score is not in [0, 1].

    >>> score_histograms([0.0, 0.5, 1.0], [False, True, True])[:, [0, 500, 1000]].tolist()
    [[1, 0, 0], [0, 1, 1]]
    """
    values, inside = as_numbers(scores, "scores", None), np.asarray(foreground, np.bool_)
    unknown = np.zeros_like(inside) if ignored is None else np.asarray(ignored, np.bool_)
    if not values.shape == inside.shape == unknown.shape:
        shapes = f"{values.shape}, foreground {inside.shape}, ignored {unknown.shape}"
        raise UserError(f"scores have shape {shapes}, expected one shape: resize the map to its mask")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise UserError("a score is not in [0, 1], expected a normalised map: see wsl.maps.normalise")
    return _histograms(values, np.where(unknown, np.int32(-1), inside), 1)


def _histograms(scores: npt.NDArray[Any], truth: Classes, number: int) -> Counts:
    """`score_histograms` of the pixels of class ``number``, and of the others that are not negative."""
    from wsl.metrics.kernels import binned

    # Copies of one type, because each type, a read-only array's included, would be compiled by itself.
    return binned(np.array(scores, np.float64).ravel(), np.ascontiguousarray(truth).ravel(), number, _EDGES)


def histogram_ap(histograms: npt.ArrayLike) -> Doubles:
    """The area under the precision-recall curve of binned scores, from the highest bin down.

    Shape:
        (..., 2, bins), background first, to (...); NaN if there is no foreground.

    >>> histogram_ap([[1, 0, 0], [0, 1, 1]]).tolist()
    1.0
    """
    counts = as_numbers(histograms, "histograms")[..., ::-1]
    below, above = (counts[..., i, :].cumsum(axis=-1) for i in (0, 1))
    found = counts[..., 1, :]
    total = above[..., -1]
    precision = np.divide(above, above + below, out=np.zeros_like(above), where=above + below > 0)
    area = (precision * found).sum(axis=-1)
    return np.asarray(np.divide(area, total, out=np.full_like(total, np.nan), where=total > 0))


def pxap(
    maps: Sequence[npt.ArrayLike], foregrounds: Sequence[npt.ArrayLike], ignored: Sequence[npt.ArrayLike] | None = None
) -> float:
    """Pixel average precision: maps of all images against their masks, at a thousand common thresholds.

    A map is resized bilinearly to its mask and normalised to [0, 1]; one without contrast is 0 everywhere. Precision
    and recall are over the pixels of all images, without ignored ones.

    Shape:
        One (h, w) map, one (H, W) mask of the object and one of pixels to ignore per image.

    Raises:
        UserError: lengths or shapes differ, lengths are 0, or no pixel is foreground.

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 4.1.

    >>> pxap([[[0, 0.5, 1]]], [[[False, False, True]]])
    1.0
    """
    unknown = [None] * len(maps) if ignored is None else ignored
    if not len(maps) == len(foregrounds) == len(unknown) or not len(maps):
        raise UserError(f"{len(maps)} maps with {len(foregrounds)} masks, expected as many, at least 1")
    counts = np.zeros((2, NUM_BINS), np.int64)
    for score_map, foreground, skipped in zip(maps, foregrounds, unknown, strict=True):
        mask = np.asarray(foreground)
        if mask.ndim != 2:
            raise UserError(f"a mask has shape {mask.shape}, expected (H, W)")
        counts += score_histograms(heatmap(score_map, (mask.shape[1], mask.shape[0])), mask, skipped)
    area = float(histogram_ap(counts))
    if np.isnan(area):
        raise UserError("no pixel is foreground: average precision is undefined, leave the class out")
    return area


class PxAP(Statistic):
    """Pixel average precision over the (image, class) pairs of a data set with masks.

    A pair is a class of ``sample.labels`` that has pixels in the mask, against all pixels of the image that are not
    ignored; other classes are background. The value is over the pixels of all report classes together, as in the
    benchmark, and ``per_class`` is that of each class. A pair without a (finite) map counts as a map of zeros, and the
    note counts those. ``counts`` are pairs. The baseline is `centre_gaussian`; the whole image as the object gives the
    fraction of foreground. There are few replicates, because the histograms of each are large.

    Args:
        protocol: ``default`` compares at the image's own resolution; ``wsolevaluation``, as in the benchmark, at
            224x224 with `benchmark_input`.

    >>> PxAP(["dog"]).compute().value is None
    True
    """

    reads_boxes = False
    needs = "masks"
    views = ("found", "centre")
    lost = "without a map: zeros"
    by_class = False
    columns = 2 * NUM_BINS

    def __init__(
        self, classes: Sequence[str], *, protocol: Protocol = "default", replicates: int = 200, **settings: Any
    ) -> None:
        require_protocol(protocol)
        self.protocol: Protocol = protocol
        super().__init__(classes, replicates=replicates, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """The histograms of each class's map."""
        truth = seen.pixels(None if self.protocol == "default" else (SIDE, SIDE))
        rows = []
        for label in seen.sample.labels:
            number = self.index[label] + 1
            if (truth == number).any():
                heat = self._heat(seen, label, truth.shape)
                found = np.zeros(truth.shape) if heat is None else heat
                rows.append(Row(label, _histograms(found, truth, number).ravel(), heat is None))
        return Observation(rows)

    def _heat(self, seen: Evidence, label: str, shape: tuple[int, ...]) -> npt.NDArray[Any] | None:
        if seen.blind:
            return centre_gaussian((shape[1], shape[0]))
        if self.protocol == "default":
            return seen.heat(label)
        score_map = seen.score_map(label)
        return None if score_map is None else benchmark_input(score_map)

    def curve(self) -> tuple[Doubles, Doubles]:
        """Recall and precision at each threshold, the highest first; empty if no pixel is foreground."""
        below, above = self._together(self.totals.sums())[:, ::-1].cumsum(axis=1)
        some = above > 0
        return above[some] / max(1, above[-1]), above[some] / (above + below)[some]

    def report(self, totals: Totals) -> Metric:
        """One curve over all pixels; no value if no pair has a map."""
        note = self.note(totals) + ("" if self.protocol == "default" else f"; protocol {self.protocol}")
        area = histogram_ap(totals.sums().reshape(-1, 2, NUM_BINS))
        counts = totals.trials * totals.measured
        metric = self.mean.metric("PxAP", area, counts, note=note, images=int(totals.images[0]))
        if metric.value is None:
            return metric
        together = self._together(totals.sums())
        metric = replace(
            metric,
            value=float(histogram_ap(together)),
            baseline=float(histogram_ap(self._together(totals.sums("centre")))),
            whole_image=float(together[1].sum() / together.sum()),
        )
        if not self.replicates:
            return metric
        return with_interval(metric, histogram_ap(totals.drawn[0].T.reshape(-1, 2, NUM_BINS)))

    def _together(self, sums: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The histograms of all report classes together, (2, bins)."""
        return np.asarray(sums[list(self.mean.reported)].sum(axis=0).reshape(2, NUM_BINS))
