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
    from wsl.inference import Predictor
    from wsl.verbs.faithfulness import OwnMaps
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
        samples.classes,
        report_classes=config.report_classes,
        protocol=config.protocol,
        boxes=origin,
        num_thresholds=config.num_thresholds,
        metrics=config.metrics,
    )
    predictions.warnings.clear()  # those of the split that the threshold was selected on
    plots = _plots(config)
    with stage(predictions.stage):
        read_boxes = plots is not None or evaluation.reads_boxes
        pairs = predictions.pairs(samples, config.split, boxes, read_boxes=read_boxes)
    own_maps = _own_maps(config, predictions.predictor, samples)
    seen = 0
    for found, sample in track(
        timed(evaluation.stream(timed(pairs, predictions.stage), config.runtime.workers), "metrics"),
        "evaluate",
        len(samples),
    ):
        if plots is not None:
            with stage("plots"):
                plots.update(found, sample)
        if own_maps is not None:
            with stage("faithfulness"):
                own_maps.update(found, sample)
        seen += 1
    if not seen:
        raise RunError(f"none of the {len(samples)} images of split {config.split} has a localization")
    with stage("metrics"):
        report = evaluation.compute(source=str(config.predictions or config.weights), missing=len(samples) - seen)
    report = dataclasses.replace(
        report,
        boxes=origin,
        protocol=config.protocol,
        drawn=predictions.drawn,
        warnings=dict(predictions.warnings),
    )
    if own_maps is not None:
        report = dataclasses.replace(report, metrics=(*report.metrics, *own_maps.compute()))
    if plots is not None:
        with stage("plots"):
            plots.save(evaluation, report)
        report = dataclasses.replace(report, failures={str(reason): count for reason, count in plots.counts.items()})
    return report


def _own_maps(config: EvaluateConfig, predictor: Predictor | None, samples: SampleSet) -> OwnMaps | None:
    if config.faithfulness is None or predictor is None:
        return None
    from wsl.verbs.faithfulness import OwnMaps

    return OwnMaps(
        predictor,
        samples,
        images=config.faithfulness,
        steps=config.faithfulness_steps,
        report_classes=config.report_classes,
    )


def _plots(config: EvaluateConfig) -> Plots | None:
    if not config.plots:
        return None
    # Loaded here: matplotlib takes its time, and numbers do without it.
    from wsl.verbs.plots import Plots

    return Plots(config.out / "plots")
