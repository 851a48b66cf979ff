"""Mean intersection over union of class maps as masks, at every background threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles
from wsl.metrics.box_curves import map_thresholds
from wsl.metrics.class_mean import with_interval
from wsl.metrics.evidence import Evidence, Whole
from wsl.metrics.statistic import Observation, Row, Statistic, Totals, ratio
from wsl.results import Metric

BACKGROUND = "background"

Counts = npt.NDArray[np.int64]


def class_iou(
    predictions: Sequence[npt.ArrayLike], targets: Sequence[npt.ArrayLike], num_classes: int, ignored: int = 255
) -> Doubles:
    """Intersection over union of each class, from one confusion matrix over all images.

    Shape:
        One (H, W) array of class numbers and one of true numbers per image; the result is (num_classes,), NaN for a
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
        numbers, truth = (as_numbers(one, "class numbers", None) for one in (found, expected))
        if numbers.shape != truth.shape:
            raise UserError(f"a prediction has shape {numbers.shape}, its mask {truth.shape}, expected one shape")
        counted = truth != ignored
        for values in (numbers[counted], truth[counted]):
            if not ((values >= 0) & (values < num_classes)).all():
                raise UserError(f"a pixel is not one of the classes 0 to {num_classes - 1}, expected their numbers")
        pairs = truth[counted].astype(np.intp) * num_classes + numbers[counted].astype(np.intp)
        matrix += np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    area, right = matrix.sum(axis=1), np.diag(matrix)
    return ratio(right, np.where(area > 0, area + matrix.sum(axis=0) - right, 0))


class MeanIoU(Statistic):
    """Mean over background and classes of the IoU of class maps as masks, at the data set's best threshold.

    The classes of ``sample.labels`` (and ``ignored``) are taken as known, as is usual when class maps become training
    masks. Each class's map is resized bilinearly to the image and normalised; a pixel belongs to the class of the
    highest map (ties go to the first), or to the background if that map does not exceed the threshold
    i / num_thresholds. Pixels are counted over the data set. A class without a true pixel enters neither mean nor
    table, though pixels assigned to it are wrong for others. A pair without a (finite) map gets no pixel, and the note
    counts those. The best threshold is chosen on the same images, so the number is optimistic; each replicate chooses
    its own. ``counts`` are images that show the class. The baselines assign to the highest-scored present class the
    pixels of `centre_gaussian`, at its own best threshold, or the whole image.

    >>> MeanIoU(["dog"]).compute().value is None
    True
    """

    reads_boxes = False
    needs = "masks"
    views = ("found", "centre", "whole")
    unit = "(image, class) pairs with background"

    def __init__(
        self,
        classes: Sequence[str],
        *,
        num_thresholds: int = 100,
        report_classes: Sequence[str] = (),
        replicates: int = 200,
        **settings: Any,
    ) -> None:
        self.thresholds = map_thresholds(num_thresholds)
        # A class's true pixels and the pixels assigned to it; images that show it, pairs with and without a map.
        self.drawn_columns = 1 + 2 * (num_thresholds + 1)
        self.columns = self.drawn_columns + 3
        reported = (BACKGROUND, *report_classes) if report_classes else ()
        super().__init__((BACKGROUND, *classes), reported, replicates=replicates, **settings)
        self.index = {label: i for i, label in enumerate(classes)}

    def observe(self, seen: Evidence) -> Observation:
        """The pixels of each class, and those assigned to it by the number of thresholds that they exceed."""
        area, present = seen.areas, (*seen.sample.labels, *seen.sample.ignored)
        if seen.blind:
            scores = seen.found.scores
            shown = [max(present, key=lambda label: scores.get(label, -math.inf))] if present else []
        else:
            shown = [label for label in present if seen.heat(label) is not None]
        numbers = np.array([self.mean.index[label] for label in shown], np.int32)
        rows = {number: np.zeros(self.columns, np.int64) for number in {0, *numbers.tolist(), *np.flatnonzero(area)}}
        tables = self._everything(numbers, area) if isinstance(seen, Whole) else self._tables(seen, shown, numbers)
        for number, table in zip((0, *numbers.tolist()), tables, strict=True):
            rows[number][1 : self.drawn_columns] = table.ravel()
        for number, row in rows.items():
            row[0], row[-3] = area[number], area[number] > 0
        rows[0][-2:] = len(shown), len(present) - len(shown)
        return Observation([Row(self.mean.classes[number], row) for number, row in rows.items()])

    def _tables(self, seen: Evidence, shown: Sequence[str], numbers: npt.NDArray[np.int32]) -> Counts:
        from wsl.metrics.kernels import exceeding

        truth = seen.pixels()
        heats = np.array([seen.heat(label) for label in shown], np.float32).reshape(-1, *truth.shape)
        return exceeding(heats, numbers, np.ascontiguousarray(truth), self.thresholds.astype(np.float32))

    def _everything(self, numbers: npt.NDArray[np.int32], area: Counts) -> Counts:
        """The tables if one class is assigned every pixel at every threshold."""
        tables = np.zeros((1 + len(numbers), 2, len(self.thresholds) + 1), np.int64)
        level = len(self.thresholds) if len(numbers) else 0
        tables[:, 0, level] = area.sum()
        tables[:, 1, level] = area[[0, *numbers.tolist()]]
        return tables

    def report(self, totals: Totals) -> Metric:
        """The mean over background and classes; no value if no pair has a map."""
        images, (given, missing) = totals.sums()[:, -3], totals.sums()[0, -2:].tolist()
        area = totals.sums()[:, 0]
        iou, centre, whole = (self._iou(totals.sums(view), area) for view in self.views)
        rows = list(self.mean.reported)
        counts = images * (given > 0)
        best, own = (int(np.argmax(_mean(values[rows]))) if counts.any() else 0 for values in (iou, centre))
        lost = [f"{missing} pairs without a map: no pixels"] if missing else []
        threshold = f"best threshold {self.thresholds[best]:g} on the evaluated split (optimistic)"
        metric = self.mean.metric(
            "mIoU",
            iou[:, best],
            counts,
            baseline=centre[:, own],
            whole_image=whole[:, 0],
            note="; ".join([self.unit, *lost, threshold]),
            images=int(totals.images[0]),
        )
        if metric.value is None or not self.replicates:
            return metric
        drawn = np.moveaxis(totals.drawn[rows], 1, 2)
        values = _mean(self._iou(drawn, drawn[..., 0])).max(axis=-1)
        return with_interval(metric, values)

    def _iou(self, sums: npt.NDArray[Any], area: npt.NDArray[Any]) -> Doubles:
        pixels = sums[..., 1 : self.drawn_columns]
        return _iou(pixels.reshape(*pixels.shape[:-1], 2, -1), area)


def _iou(pixels: Counts, area: Counts) -> Doubles:
    """IoU of each class at each threshold, NaN without a true pixel; row 0 is the background.

    Shape:
        (classes, ..., 2, thresholds + 1) and (classes, ...) to (classes, ..., thresholds).
    """
    exceeding = pixels[..., ::-1].cumsum(axis=-1)[..., -2::-1]
    given, right = exceeding[..., 0, :], exceeding[..., 1, :]
    area = area[..., None]
    given[0] = pixels[0, ..., 0, :].sum(axis=-1, keepdims=True) - given[0]
    right[0] = area[0] - right[0]
    return ratio(right, np.where(area > 0, given + area - right, 0))


def _mean(iou: Doubles) -> Doubles:
    """The mean over the classes that have a value."""
    return ratio(np.nan_to_num(iou).sum(axis=0), (~np.isnan(iou)).sum(axis=0))
