"""Selection of the threshold and box rule on one split, for use on another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from wsl.config import Protocol
from wsl.metrics import Choice, Evaluation, MaxBoxAcc, ThresholdChoice
from wsl.results import Localization
from wsl.samples import Sample
from wsl.stopwatch import stage


class Selection(NamedTuple):
    """The threshold and rule with the most correct boxes at an IoU, and the best thresholds for MaxBoxAcc by level."""

    best: Choice
    iou: float
    by_metric: Mapping[str, tuple[float, ...]]


def select_boxes(
    pairs: Iterable[tuple[Localization, Sample]],
    classes: Sequence[str],
    *,
    report_classes: Sequence[str] = (),
    protocol: Protocol = "default",
    num_thresholds: int | None = None,
    processes: int = 1,
) -> Selection:
    """Select on the localizations of a split, which must have maps; images without annotated boxes are ignored.

    Raises:
        UserError: no annotated class has a map.

    >>> import numpy as np
    >>> from wsl.boxes import Boxes
    >>> truth = Boxes(xyxy=[[2, 0, 6, 2]], labels=["dog"])
    >>> maps = {"dog": np.float32([[0, 2, 4, 1]])}
    >>> found = Localization(path="a.jpg", size=(8, 2), scores={}, boxes=Boxes.empty(), maps=maps)
    >>> select_boxes([(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))], ["dog"]).best.box_rule
    'largest'
    """
    evaluation = Evaluation(
        classes,
        report_classes,
        protocol=protocol,
        replicates=0,
        num_thresholds=num_thresholds,
        metrics=("CorLoc-pairs", "MaxBoxAcc", "MaxBoxAccV2"),
    )
    with stage("selecting the threshold"):
        annotated = ((found, sample) for found, sample in pairs if sample.boxes is not None)
        for _ in evaluation.stream(annotated, processes):
            pass
    choice, *max_boxes = evaluation.statistics.values()
    assert isinstance(choice, ThresholdChoice)
    by_metric = {
        type(metric).__name__: metric.best_thresholds()
        for metric in max_boxes
        if isinstance(metric, MaxBoxAcc) and metric.totals.trials.sum()
    }
    return Selection(choice.choose(), choice.iou_threshold, by_metric)
