"""From the predictions and annotations of a split to its metrics and plots."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from wsl.config import EvaluateConfig
from wsl.errors import RunError
from wsl.metrics import Evaluation
from wsl.progress import track
from wsl.results import EvaluationReport
from wsl.samples import SampleSet
from wsl.stopwatch import stage, timed
from wsl.verbs.box_choice import choose_boxes
from wsl.verbs.predictions import Predictions

if TYPE_CHECKING:
    from wsl.verbs.plots import Plots


def measure(
    config: EvaluateConfig, predictions: Predictions, samples: SampleSet, others: SampleSet | None
) -> EvaluationReport:
    """All metrics of `samples` that have their inputs, with plots where asked; `others` are to select a threshold on.

    Raises:
        UserError: predictions and annotations do not belong together, or cannot be read.
        RunError: no image could be evaluated.
    """
    boxes, origin = choose_boxes(config, predictions, others)
    evaluation = Evaluation(
        samples.classes, report_classes=config.report_classes, protocol=config.protocol, boxes=origin
    )
    predictions.warnings.clear()  # those of the split that the threshold was selected on
    plots = _plots(config)
    seen = 0
    pairs = predictions.pairs(samples, config.split, boxes)
    for found, sample in track(timed(pairs, predictions.stage), "evaluate", len(samples)):
        with stage("matching"):
            evaluation.update(found, sample)
        if plots is not None:
            with stage("plots"):
                plots.update(found, sample)
        seen += 1
    if not seen:
        raise RunError(f"none of the {len(samples)} images of split {config.split} has a localization")
    with stage("matching"):
        report = evaluation.compute(source=str(config.predictions or config.weights), missing=len(samples) - seen)
    report = dataclasses.replace(report, boxes=origin, protocol=config.protocol, warnings=dict(predictions.warnings))
    if plots is not None:
        with stage("plots"):
            plots.save(evaluation, report)
        report = dataclasses.replace(report, failures={str(reason): count for reason, count in plots.counts.items()})
    return report


def _plots(config: EvaluateConfig) -> Plots | None:
    if not config.plots:
        return None
    # Loaded here: matplotlib takes its time, and numbers do without it.
    from wsl.verbs.plots import Plots

    return Plots(config.out / "plots")
