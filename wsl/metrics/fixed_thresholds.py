"""MaxBoxAcc without its optimism: the accuracy at thresholds that the evaluated images had no say in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from wsl.errors import UserError
from wsl.metrics.box_accuracy import MaxBoxAcc
from wsl.results import Metric


def best_thresholds(metric: MaxBoxAcc) -> tuple[float, ...]:
    """The map threshold of most right boxes at each IoU level (ties go to the lowest), for use on another split.

    >>> best_thresholds(MaxBoxAcc(["dog"], iou_thresholds=[0.5]))
    (0.0,)
    """
    return tuple(float(metric._thresholds[i]) for i in _right(metric).argmax(axis=1))


def accuracy_curves(metric: MaxBoxAcc) -> dict[float, npt.NDArray[np.float64]]:
    """The accuracy at each of the metric's thresholds, by IoU level: what the best threshold is picked from.

    >>> accuracy_curves(MaxBoxAcc(["dog"], iou_thresholds=[0.5], num_thresholds=3))
    {0.5: array([0., 0., 0.])}
    """
    trials = max(1, int(metric.trials[_rows(metric)].sum()))
    return {level: row / trials for level, row in zip(metric.iou_thresholds, _right(metric), strict=True)}


def accuracy_at(metric: MaxBoxAcc, thresholds: Sequence[float], origin: str) -> tuple[Metric, ...]:
    """The levels of ``metric.compute()`` at one threshold each, which is taken to the nearest of the metric's own.

    Raises:
        UserError: not one threshold a level.

    >>> accuracy_at(MaxBoxAcc(["dog"], iou_thresholds=[0.5]), [0.2], "given")[0].name
    'BoxAcc@0.5'
    """
    if len(thresholds) != len(metric.iou_thresholds):
        raise UserError(f"{len(thresholds)} thresholds, expected one a level: {len(metric.iou_thresholds)}")
    trials, hits, baseline = (state.cpu().numpy() for state in (metric.trials, metric.hits, metric.baseline_hits))
    measured = bool(metric.missing < trials.sum())
    tried = [(label, i) for label, i in metric._index.items() if trials[i] and measured]
    what = "single-object images" if metric.single_object else "(image, class) pairs"
    found = []
    for level, (value, threshold) in enumerate(zip(metric.iou_thresholds, thresholds, strict=True)):
        nearest = int(np.abs(metric._thresholds - threshold).argmin())
        found.append(
            metric._mean.metric(
                metric._name(f"@{value:g}").removeprefix("Max"),
                {label: hits[i, level, nearest] / trials[i] for label, i in tried},
                {label: int(trials[i]) for label, i in tried},
                baseline={label: baseline[i, level] / trials[i] for label, i in tried},
                pooled=True,
                note=f"{what}; threshold {metric._thresholds[nearest]:g}, {origin}",
            )
        )
    return tuple(found)


def _right(metric: MaxBoxAcc) -> npt.NDArray[np.int64]:
    """Right boxes of the report classes by level and threshold."""
    return np.asarray(metric.hits[_rows(metric)].sum(dim=0).cpu().numpy())


def _rows(metric: MaxBoxAcc) -> list[int]:
    return [metric._index[label] for label in metric._mean.report_classes]
