"""Measure localizations, score maps, boxes, or a model, against annotations."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wsl.config import EvaluateConfig
from wsl.data import read_samples
from wsl.errors import RunError, UserError
from wsl.files import write_text
from wsl.metrics import Evaluation, report_table
from wsl.progress import track
from wsl.results import EvaluationReport
from wsl.stopwatch import Stopwatch, stage, timed
from wsl.verbs.box_choice import choose_boxes
from wsl.verbs.predictions import Predictions

if TYPE_CHECKING:
    from wsl.verbs.plots import Plots

log = logging.getLogger("wsl")


def evaluate(config: EvaluateConfig) -> EvaluationReport:
    """All metrics of one split that have their inputs; also written to ``evaluation.json`` and ``evaluation.md``.

    Where the run time went stands in ``seconds.json``.

    With ``config.select_threshold`` the boxes are drawn with the threshold and rule that are best on that split, which
    are kept as ``boxes.json`` in ``config.out`` and in the model's run folder. With ``config.plots`` pictures go to
    ``plots/``.

    Raises:
        UserError: predictions and annotations do not belong together, or neither can be read.
        RunError: no image could be evaluated.
    """
    with Stopwatch().running() as watch:
        with stage("reading"):
            samples = read_samples(config.data, config.split, images=config.weights is not None, outlines=True)
        unknown = [name for name in config.report_classes if name not in samples.classes]
        if unknown:
            raise UserError(f"unknown class {unknown[0]!r} to report; known: {', '.join(samples.classes)}")
        predictions = Predictions(config)
        boxes, origin = choose_boxes(config, predictions, samples)
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
        source = str(config.predictions or config.weights)
        with stage("matching"):
            report = evaluation.compute(source=source, missing=len(samples) - seen)
        report = dataclasses.replace(report, boxes=origin, protocol=config.protocol)
        if plots is not None:
            with stage("plots"):
                plots.save(evaluation, report)
    report = dataclasses.replace(
        report,
        warnings=dict(predictions.warnings),
        failures={} if plots is None else {str(reason): count for reason, count in plots.counts.items()},
        seconds=dict(watch.seconds),
    )
    if report.missing:
        log.warning("%d of %d images of split %s have no localization", report.missing, len(samples), config.split)
    _write(config.out, report)
    return report


def _write(folder: Path, report: EvaluationReport) -> None:
    """The report, which two runs of one evaluation give alike, and the run time, which they do not."""
    write_text(folder / "evaluation.json", json.dumps(report.to_json(), indent=2) + "\n")
    write_text(folder / "evaluation.md", report_table(dataclasses.replace(report, seconds={})) + "\n")
    seconds = {name: round(spent, 3) for name, spent in report.seconds.items()}
    write_text(folder / "seconds.json", json.dumps(seconds, indent=2) + "\n")


def _plots(config: EvaluateConfig) -> Plots | None:
    if not config.plots:
        return None
    # Loaded here: matplotlib takes its time, and numbers do without it.
    from wsl.verbs.plots import Plots

    return Plots(config.out / "plots")
