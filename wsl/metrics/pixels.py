"""Do the map's high values lie on the object's pixels: pixel average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.cam.baselines import centre_gaussian
from wsl.errors import UserError
from wsl.maps import Protocol, heatmap
from wsl.metrics.annotated_masks import pixel_classes
from wsl.metrics.benchmark_input import SIDE, benchmark_input
from wsl.metrics.bootstrap import Doubles, percentile_interval
from wsl.metrics.protocol import StreamingMetric
from wsl.results import Localization, Metric
from wsl.samples import Sample

NUM_BINS = 1001
"""A thousand thresholds 0, 0.001, …, and the value 1, which lies above all of them."""

Counts = npt.NDArray[np.int64]
_EDGES = np.append(np.arange(0, 1, 0.001), 1.0)


def score_histograms(scores: npt.ArrayLike, foreground: npt.ArrayLike, ignored: npt.ArrayLike | None = None) -> Counts:
    """How many background and foreground pixels have a score in each bin; ignored pixels are in neither.

    Bin i holds the scores from ``i / 1000`` to below the next edge, the last one the score 1.

    Shape:
        three arrays of one shape, scores in [0, 1]; the result is (2, 1001), background first.

    Raises:
        UserError: shapes differ, or a score is not in [0, 1].

    >>> score_histograms([0.0, 0.5, 1.0], [False, True, True])[:, [0, 500, 1000]].tolist()
    [[1, 0, 0], [0, 1, 1]]
    """
    values, inside = np.asarray(scores, np.float64), np.asarray(foreground, np.bool_)
    counted = np.ones_like(inside) if ignored is None else ~np.asarray(ignored, np.bool_)
    if not values.shape == inside.shape == counted.shape:
        shapes = f"{values.shape}, foreground {inside.shape}, ignored {counted.shape}"
        raise UserError(f"scores have shape {shapes}, expected one shape: resize the map to its mask")
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError("a score is not in [0, 1], expected a normalised map: see wsl.maps.normalise")
    # The bin by arithmetic, set right where rounding put a score on the wrong side of an edge.
    bins = (values * 1000).astype(np.int32)
    bins += np.append(_EDGES, 2)[bins + 1] <= values
    bins -= _EDGES[bins] > values
    number = bins[counted] + NUM_BINS * inside[counted]
    return np.asarray(np.bincount(number, minlength=2 * NUM_BINS).reshape(2, NUM_BINS), np.int64)


def histogram_ap(histograms: npt.ArrayLike) -> Doubles:
    """The area under the precision-recall curve that the bins give, from the highest down.

    Shape:
        (..., 2, bins), background first, to (...); NaN where there is no foreground.

    >>> histogram_ap([[1, 0, 0], [0, 1, 1]]).tolist()
    1.0
    """
    counts = np.asarray(histograms, np.float64)[..., ::-1]
    below, above = (counts[..., i, :].cumsum(axis=-1) for i in (0, 1))
    found = counts[..., 1, :]
    total = above[..., -1]
    precision = np.divide(above, above + below, out=np.zeros_like(above), where=above + below > 0)
    area = (precision * found).sum(axis=-1)
    return np.asarray(np.divide(area, total, out=np.full_like(total, np.nan), where=total > 0))


def pxap(
    maps: Sequence[npt.ArrayLike], foregrounds: Sequence[npt.ArrayLike], ignored: Sequence[npt.ArrayLike] | None = None
) -> float:
    """Pixel average precision: maps of all images against their masks, at a thousand thresholds of the data set.

    A map is resized bilinearly to its mask and normalised to [0, 1]; one without contrast is 0 everywhere. Precision
    and recall are over the pixels of all images, ignored ones left out.

    Shape:
        one (h, w) map, one (H, W) mask of the object and one of pixels to ignore an image.

    Raises:
        UserError: lengths or shapes differ, nothing was given, or no pixel is foreground.

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


class PxAP(StreamingMetric):
    """Pixel average precision over the (image, class) pairs of a data set with masks.

    A pair is a class of ``sample.labels`` that has pixels in the mask, against all pixels of the image that somebody
    is sure of; other classes are background. The value is that of the pixels of all report classes together, as in
    the benchmark, and ``per_class`` that of each class. A pair without a (finite) map counts as a map of zeros, and
    the note counts those. ``counts`` are pairs. The baseline is `centre_gaussian`; the whole image as the object
    gives the fraction of foreground. Keeps two histograms of 1,001 bins a class, as much for the baseline, and two a
    replicate, of which there are few.

    Args:
        protocol: ``default`` compares at the image's own resolution; ``wsolevaluation`` as the benchmark does, at
            224x224 with `benchmark_input`.

    >>> from wsl.boxes import Boxes
    >>> PxAP(["dog"]).compute().value is None
    True
    """

    trials: torch.Tensor
    pixels: torch.Tensor
    centre_pixels: torch.Tensor
    drawn_pixels: torch.Tensor
    missing: torch.Tensor

    def __init__(
        self,
        classes: Sequence[str],
        *,
        protocol: Protocol = "default",
        report_classes: Sequence[str] = (),
        replicates: int = 200,
        **settings: Any,
    ) -> None:
        super().__init__(classes, report_classes, replicates=replicates, **settings)
        self.protocol: Protocol = protocol
        self._add_counter("trials", len(self._mean.classes))
        self._add_counter("missing")
        for name in ("pixels", "centre_pixels"):
            self._add_counter(name, len(self._mean.classes), 2, NUM_BINS)
        # Whole numbers in doubles, which hold them exactly and add much faster.
        self._add_counter("drawn_pixels", self.replicates, 2, NUM_BINS, dtype=torch.float64)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the maps of one image.

        Raises:
            UserError: the sample has no mask, one that does not fit, or a label is none of the classes.
        """
        self._mean.require(sample.labels, sample.path)
        resolution = None if self.protocol == "default" else (SIDE, SIDE)
        truth = pixel_classes(sample, self._mean.classes, found.size, resolution)
        for label in sample.labels:
            inside = truth == self._index[label] + 1
            if inside.any():
                score_map = (found.maps or {}).get(label)
                if score_map is None or not np.isfinite(score_map).all():
                    score_map = np.zeros((1, 1), np.float32)
                    self.missing += 1
                self.add_pixels(sample, label, score_map, inside, truth < 0)

    def add_pixels(
        self, sample: Sample, label: str, score_map: npt.ArrayLike, foreground: npt.ArrayLike, ignored: npt.ArrayLike
    ) -> None:
        """Take in one pair whose mask comes from elsewhere.

        Shape:
            the masks are (H, W).

        Raises:
            UserError: the masks' shapes differ or the map is none.
        """
        height, width = np.shape(foreground)
        row, size = self._index[label], (width, height)
        prepared = heatmap(score_map, size) if self.protocol == "default" else benchmark_input(score_map)
        counts = torch.as_tensor(score_histograms(prepared, foreground, ignored), device=self.device)
        centre = score_histograms(centre_gaussian(size), foreground, ignored)
        self.trials[row] += 1
        self.pixels[row] += counts
        self.centre_pixels[row] += torch.as_tensor(centre, device=self.device)
        if self.replicates and label in self._mean.report_classes:
            self.drawn_pixels.view(self.replicates, -1).addr_(self._draws(sample).double(), counts.double().flatten())

    def curve(self) -> tuple[Doubles, Doubles]:
        """Recall and precision at each threshold, the highest first; empty when no pixel is foreground."""
        rows = [self._index[label] for label in self._mean.report_classes]
        below, above = self.pixels[rows].sum(dim=0).cpu().numpy()[:, ::-1].cumsum(axis=1)
        some = above > 0
        return above[some] / max(1, above[-1]), above[some] / (above + below)[some]

    def compute(self) -> Metric:
        """One curve over all pixels; no value when no pair came with a map."""
        trials, pixels, centre = (state.cpu().numpy() for state in (self.trials, self.pixels, self.centre_pixels))
        measured = bool(self.missing < trials.sum())
        area = histogram_ap(pixels)
        per_class = {label: float(area[i]) for label, i in self._index.items() if trials[i] and measured}
        counts = {label: int(trials[self._index[label]]) for label in per_class}
        note = "(image, class) pairs" + (f"; {int(self.missing)} without a map: zeros" if self.missing else "")
        note += "" if self.protocol == "default" else f"; protocol {self.protocol}"
        metric = self._mean.metric("PxAP", per_class, counts, note=note)
        if metric.value is None:
            return metric
        rows = [self._index[label] for label in self._mean.report_classes]
        together = pixels[rows].sum(axis=0)
        value = float(histogram_ap(together))
        return replace(
            metric,
            value=value,
            baseline=float(histogram_ap(centre[rows].sum(axis=0))),
            whole_image=float(together[1].sum() / together.sum()),
            interval=percentile_interval(histogram_ap(self.drawn_pixels.cpu().numpy()), value),
        )
