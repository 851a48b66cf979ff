"""Class maps taken as masks: mean intersection over union, at every background threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from wsl.cam.baselines import centre_gaussian
from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics.annotated_masks import Classes, pixel_classes
from wsl.metrics.bootstrap import Doubles, percentile_interval
from wsl.metrics.protocol import StreamingMetric
from wsl.results import Localization, Metric
from wsl.samples import Sample

BACKGROUND = "background"

Counts = npt.NDArray[np.int64]


def class_iou(
    predictions: Sequence[npt.ArrayLike], targets: Sequence[npt.ArrayLike], num_classes: int, ignored: int = 255
) -> Doubles:
    """Intersection over union of each class, from one confusion matrix over all images.

    Shape:
        one (H, W) array of class numbers and one of true numbers an image; the result is (num_classes,), NaN for a
        class without a true pixel. Pixels whose true number is ``ignored`` are left out.

    Raises:
        UserError: lengths or shapes differ, or a number is not a class.

    >>> class_iou([[[0, 1, 1, 1]]], [[[0, 1, 0, 255]]], 3).tolist()
    [0.5, 0.5, nan]
    """
    if len(predictions) != len(targets):
        raise UserError(f"predictions of {len(predictions)} images with masks of {len(targets)}, expected as many")
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for found, expected in zip(predictions, targets, strict=True):
        numbers, truth = np.asarray(found), np.asarray(expected)
        if numbers.shape != truth.shape:
            raise UserError(f"a prediction has shape {numbers.shape}, its mask {truth.shape}, expected one shape")
        counted = truth != ignored
        for values in (numbers[counted], truth[counted]):
            if not ((values >= 0) & (values < num_classes)).all():
                raise UserError(f"a pixel is none of the classes 0 to {num_classes - 1}, expected their numbers")
        pairs = truth[counted].astype(np.intp) * num_classes + numbers[counted].astype(np.intp)
        matrix += np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    area, right = matrix.sum(axis=1), np.diag(matrix)
    return _ratio(right, area + matrix.sum(axis=0) - right, area > 0)


class MeanIoU(StreamingMetric):
    """Mean over background and classes of the IoU of class maps as masks, at the data set's best threshold.

    The classes of ``sample.labels`` (and ``ignored``) are taken as known, as is usual where class maps are to become
    training masks. Each one's map is resized bilinearly to the image and normalised; a pixel belongs to the class of
    the highest one (ties go to the first), and to the background where that does not exceed the threshold
    i / num_thresholds. Pixels are counted over the data set. A class without a true pixel enters neither mean nor
    table, though pixels given to it are wrong for others. A pair without a (finite) map gets no pixel, and the note
    counts those. The best threshold is picked on the same images, so the number is optimistic; each replicate picks
    its own. ``counts`` are images that show the class. Baseline and whole image give the class of highest score (of
    those present) the pixels of `centre_gaussian`, at its own best threshold, or all.

    Keeps two histograms over the thresholds a class, as many for the baseline, and two a class and replicate.

    >>> MeanIoU(["dog"]).compute().value is None
    True
    """

    images: torch.Tensor
    pixels: torch.Tensor
    area: torch.Tensor
    centre_pixels: torch.Tensor
    whole_pixels: torch.Tensor
    drawn_pixels: torch.Tensor
    drawn_area: torch.Tensor
    missing: torch.Tensor
    given: torch.Tensor

    def __init__(
        self,
        classes: Sequence[str],
        *,
        num_thresholds: int = 100,
        report_classes: Sequence[str] = (),
        replicates: int = 200,
        **settings: Any,
    ) -> None:
        if num_thresholds < 1:
            raise UserError(f"number of thresholds is {num_thresholds}, expected 1 or more: try 100")
        names = (BACKGROUND, *classes)
        reported = (BACKGROUND, *report_classes) if report_classes else ()
        super().__init__(names, reported, replicates=replicates, **settings)
        self._thresholds = np.arange(num_thresholds) / num_thresholds
        shape = len(names), 2, num_thresholds + 1
        for name in ("images", "area"):
            self._add_counter(name, len(names))
        for name in ("pixels", "centre_pixels", "whole_pixels"):
            self._add_counter(name, *shape)
        self._add_counter("drawn_pixels", len(names), self.replicates, *shape[1:])
        self._add_counter("drawn_area", len(names), self.replicates)
        self._add_counter("missing")
        self._add_counter("given")

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the maps of one image.

        Raises:
            UserError: the sample has no mask, one that does not fit, or a label is none of the classes.
        """
        self._mean.require((*sample.labels, *sample.ignored), sample.path)
        truth = pixel_classes(sample, self._mean.classes[1:], found.size)
        present, known = (*sample.labels, *sample.ignored), found.maps or {}
        maps = {label: known[label] for label in present if label in known and np.isfinite(known[label]).all()}
        self.missing += len(present) - len(maps)
        self.given += len(maps)
        seen = _Masks.of({self._index[label]: heatmap(maps[label], found.size) for label in maps}, found.size)
        best = max(present, key=lambda label: found.scores.get(label, -math.inf), default=None)
        one = {} if best is None else {self._index[best]: centre_gaussian(found.size)}
        centre = _Masks.of(one, found.size)
        whole = _Masks.of({number: np.ones_like(heat) for number, heat in one.items()}, found.size)
        pixels = seen.histograms(truth, self._thresholds)
        self._add(self.pixels, pixels)
        self._add(self.centre_pixels, centre.histograms(truth, self._thresholds))
        self._add(self.whole_pixels, whole.histograms(truth, self._thresholds))
        area = np.bincount(truth[truth >= 0], minlength=len(self._mean.classes))
        self.area += torch.as_tensor(area, device=self.device)
        self.images += torch.as_tensor(area > 0, device=self.device)
        if self.replicates:
            draws = self._draws(sample)
            for number, counts in pixels.items():
                self.drawn_pixels[number] += draws[:, None, None] * torch.as_tensor(counts, device=self.device)
            self.drawn_area += torch.as_tensor(area, device=self.device)[:, None] * draws

    def compute(self) -> Metric:
        """The mean over background and classes; no value when no pair came with a map."""
        images, area = self.images.tolist(), self.area.cpu().numpy()
        iou, centre, whole = (
            _iou(state.cpu().numpy(), area) for state in (self.pixels, self.centre_pixels, self.whole_pixels)
        )
        rows = [self._index[label] for label in self._mean.report_classes]
        tried = [(label, i) for label, i in self._index.items() if images[i] and bool(self.given > 0)]
        best, own, _ = (int(np.argmax(_mean(values[rows]))) if tried else 0 for values in (iou, centre, whole))
        missing = f"; {int(self.missing)} pairs without a map: no pixels" if self.missing else ""
        threshold = f"best threshold {self._thresholds[best]:g} on the evaluated split (optimistic)"
        metric = self._mean.metric(
            "mIoU",
            {label: float(iou[i, best]) for label, i in tried},
            {label: images[i] for label, i in tried},
            baseline={label: float(centre[i, own]) for label, i in tried},
            whole_image={label: float(whole[i, 0]) for label, i in tried},
            note=f"images{missing}; {threshold}",
        )
        if metric.value is None or not self.replicates:
            return metric
        drawn = _iou(self.drawn_pixels[rows].cpu().numpy(), self.drawn_area[rows].cpu().numpy())
        return replace(metric, interval=percentile_interval(_mean(drawn).max(axis=-1), metric.value))

    def _add(self, state: torch.Tensor, histograms: Mapping[int, Counts]) -> None:
        for number, counts in histograms.items():
            state[number] += torch.as_tensor(counts, device=self.device)


class _Masks(NamedTuple):
    """Which of the classes each pixel would have (0 is none, i the i-th of ``numbers``), and how high its map is."""

    numbers: tuple[int, ...]
    winner: Classes
    value: npt.NDArray[np.float32]

    @classmethod
    def of(cls, heatmaps: Mapping[int, npt.NDArray[np.float32]], size: tuple[int, int]) -> _Masks:
        winner, value = np.zeros((size[1], size[0]), np.int32), np.zeros((size[1], size[0]), np.float32)
        for place, heat in enumerate(heatmaps.values(), start=1):
            higher = heat > value
            winner[higher], value[higher] = place, heat[higher]
        return cls(tuple(heatmaps), winner, value)

    def histograms(self, truth: Classes, thresholds: Doubles) -> dict[int, Counts]:
        """By class: how many pixels would be given to it, and how many of them rightly, by the thresholds they exceed.

        Of the background (0), which has what exceeds no threshold: all pixels, and those that are its own.
        """
        counted = truth >= 0
        winner, actual = self.winner[counted], truth[counted]
        own = np.array([-1, *self.numbers])[winner] == actual
        bins = len(thresholds) + 1
        # Each pixel once: its winner, whether that is right (1) or nothing is there (2), the thresholds exceeded.
        kind = np.where(actual == 0, 2, own)
        pixel = (3 * winner + kind) * bins + _exceeded(self.value[counted], thresholds)
        table = np.bincount(pixel, minlength=3 * bins * (1 + len(self.numbers))).reshape(-1, 3, bins)
        rows = {0: np.stack([table.sum(axis=(0, 1)), table[:, 2].sum(axis=0)])}
        for place, number in enumerate(self.numbers, start=1):
            rows[number] = np.stack([table[place].sum(axis=0), table[place, 1]])
        return rows


def _exceeded(values: npt.NDArray[np.float32], thresholds: Doubles) -> npt.NDArray[np.int32]:
    """How many of the thresholds i / n each value exceeds, by arithmetic that is set right where it rounds."""
    cuts = np.append(thresholds, np.inf).astype(np.float32)
    number = (values * np.float32(len(thresholds))).astype(np.int32)
    number += cuts[number] < values
    number -= (number > 0) & (cuts[number - 1] >= values)
    return number


def _iou(pixels: Counts, area: Counts) -> Doubles:
    """IoU of each class at each threshold, NaN without a true pixel; row 0 is the background.

    (classes, ..., 2, thresholds + 1) and (classes, ...) to (classes, ..., thresholds).
    """
    exceeding = pixels[..., ::-1].cumsum(axis=-1)[..., -2::-1]
    given, right = exceeding[..., 0, :], exceeding[..., 1, :]
    area = area[..., None]
    given[0] = pixels[0, ..., 0, :].sum(axis=-1, keepdims=True) - given[0]
    right[0] = area[0] - right[0]
    return _ratio(right, given + area - right, np.broadcast_to(area > 0, right.shape))


def _ratio(part: npt.NDArray[Any], whole: Counts, measured: npt.NDArray[np.bool_]) -> Doubles:
    ratio: Doubles = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=measured)
    return ratio


def _mean(iou: Doubles) -> Doubles:
    """The mean over those classes that have a value."""
    measured = ~np.isnan(iou)
    count = measured.sum(axis=0)
    return _ratio(np.nan_to_num(iou).sum(axis=0), count, count > 0)
