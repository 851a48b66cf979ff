"""Metrics and plots from the predictions and annotations of a split."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from wsl.config import EvaluateConfig
from wsl.errors import RunError
from wsl.metrics import Evaluation
from wsl.progress import track
from wsl.results import EvaluationReport, Localization
from wsl.samples import Sample, SampleSet
from wsl.stopwatch import stage, timed
from wsl.verbs.box_choice import choose_boxes
from wsl.verbs.predictions import Predictions

if TYPE_CHECKING:
    from wsl.inference import Predictor
    from wsl.verbs.own_maps import OwnMaps
    from wsl.verbs.plots import Plots

log = logging.getLogger("wsl")


def measure(
    config: EvaluateConfig,
    predictions: Predictions,
    samples: SampleSet,
    others: SampleSet | None,
    *,
    keep: bool = True,
    watch: Callable[[Localization, Sample], None] | None = None,
) -> EvaluationReport:
    """Compute all metrics of `samples` for which there are inputs, and plots if requested.

    `others` are the samples to select a threshold on; with `keep`, what was selected is saved. `watch` is called with
    each image that was measured.

    Raises:
        UserError: predictions and annotations do not belong together, or cannot be read.
        RunError: no image could be evaluated.
    """
    boxes, origin = choose_boxes(config, predictions, others, keep=keep)
    evaluation = Evaluation(
        samples.classes,
        report_classes=config.report_classes,
        protocol=config.protocol,
        boxes=origin,
        num_thresholds=config.num_thresholds,
        metrics=config.metrics,
    )
    predictions.warnings.clear()  # they are about the split on which the threshold was selected
    plots = _plots(config)
    with stage(predictions.stage):
        read_boxes = plots is not None or watch is not None or evaluation.reads_boxes
        pairs = predictions.pairs(samples, config.split, boxes, read_boxes=read_boxes)
    checks = _checks(config, predictions.predictor, samples)
    seen = 0
    for found, sample in track(
        timed(evaluation.stream(timed(pairs, predictions.stage), config.processes or 1), "metrics"),
        "evaluate",
        len(samples),
    ):
        if watch is not None:
            watch(found, sample)
        if plots is not None:
            with stage("plots"):
                plots.update(found, sample)
        for name, check in checks.items():
            with stage(name):
                check.update(found, sample)
        seen += 1
    if not seen:
        raise RunError(
            f"none of the {len(samples)} images of split {config.split} was evaluated: their files cannot be read"
        )
    with stage("metrics"):
        report = evaluation.compute(source=str(config.predictions or config.weights), missing=len(samples) - seen)
    if config.metrics:
        for name, why in evaluation.unmeasured(report).items():
            log.warning("%s was not measured: %s", name, why)
    report = dataclasses.replace(
        report,
        boxes=origin,
        protocol=config.protocol,
        drawn=predictions.drawn,
        warnings=dict(predictions.warnings),
    )
    of_checks = [metric for check in checks.values() for metric in check.compute()]
    report = dataclasses.replace(report, metrics=(*report.metrics, *of_checks))
    if plots is not None:
        with stage("plots"):
            plots.save(evaluation, report)
        report = dataclasses.replace(report, failures={str(reason): count for reason, count in plots.counts.items()})
    return report


def _checks(config: EvaluateConfig, predictor: Predictor | None, samples: SampleSet) -> dict[str, OwnMaps]:
    if predictor is None or (config.faithfulness is None and config.stability is None):
        return {}
    from wsl.verbs.own_maps import checks

    return checks(config, predictor, samples)


def _plots(config: EvaluateConfig) -> Plots | None:
    if not config.plots or config.out is None:
        return None
    # Imported here because matplotlib is slow to load and the numbers do not need it.
    from wsl.verbs.plots import Plots

    return Plots(config.out / "plots")
