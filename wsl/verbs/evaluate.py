"""Evaluate localizations, score maps, boxes or a model against annotations."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from pathlib import Path

from wsl.checkpoints import check_weights, run_folder
from wsl.config import EvaluateConfig
from wsl.config.keywords import by_keywords
from wsl.data import as_localized, as_trained
from wsl.errors import RunError, UserError
from wsl.files import check_folder, locked, write_text
from wsl.metrics.evaluation import check_metrics
from wsl.progress import loading
from wsl.results import EvaluationReport
from wsl.samples import SampleSet
from wsl.stopwatch import Stopwatch, stage
from wsl.tables import report_table
from wsl.verbs.checks import check_annotated, predictions_kind
from wsl.verbs.splits import read_splits

log = logging.getLogger("wsl")

_MANY = 1000


@by_keywords(EvaluateConfig, "predictions")
def evaluate(config: EvaluateConfig, *, side_by_side: bool = False) -> EvaluationReport:
    """Compute all metrics of one split for which the predictions and annotations suffice.

    Settings are an `EvaluateConfig`, or keywords with the names of the flags: ``wsl.evaluate("found", data="VOC2012",
    split="val")``. With ``config.out`` the metrics are also written to ``evaluation.json`` and ``evaluation.md`` there,
    and the run time of each stage to ``seconds.json``.

    If ``config.processes`` is None and `side_by_side` is set, a large split is evaluated with one process per core.
    With ``config.select_threshold`` the boxes are drawn with the threshold and rule that are best on that split; both
    are saved as ``boxes.json`` in ``config.out`` and in the model's run folder. With ``config.plots`` pictures are
    written to ``plots/``.

    Raises:
        UserError: predictions and annotations do not belong together, one of them cannot be read, or another run writes
            to the folder.
        RunError: no image could be evaluated, or no metric computed.
    """
    config = with_split_of_run(config)
    with Stopwatch().running() as watch, contextlib.ExitStack() as locks:
        with stage("reading"):
            config, samples, others = _check(config)
            if config.processes is None and side_by_side and len(samples) >= _MANY:
                config = dataclasses.replace(config, processes=os.cpu_count())
        for folder in _folders(config):
            locks.enter_context(locked(folder, "wsl-evaluate"))
        with stage("loading"), loading(config.weights or "the metrics"):
            from wsl.verbs.measurement import measure
            from wsl.verbs.predictions import Predictions

            predictions = Predictions(config)
        report = measure(config, predictions, samples, others)
        if not report.metrics:
            raise RunError("nothing to measure: no metric has annotations and predictions behind it")
        report = dataclasses.replace(report, seconds=dict(watch.seconds))
        if report.missing:
            log.warning("%d of %d images of split %s have no localization", report.missing, len(samples), config.split)
        if config.out is not None:
            _write(config.out, report)
    return report


def with_split_of_run(config: EvaluateConfig) -> EvaluateConfig:
    """The settings with the data set divided as in the training of the run that made the predictions."""
    data = config.data
    data = as_localized(data, config.predictions) if config.predictions is not None else data
    data = as_trained(data, config.weights) if config.weights is not None else data
    return dataclasses.replace(config, data=data)


def _folders(config: EvaluateConfig) -> list[Path]:
    """The folders to write to, including the model's run folder if a threshold is selected."""
    run = run_folder(config.weights) if config.weights is not None and config.select_threshold is not None else None
    return [folder for folder in (config.out, run) if folder is not None]


def _check(config: EvaluateConfig) -> tuple[EvaluateConfig, SampleSet, SampleSet | None]:
    """Check everything that does not need torch, which is slow to load.

    Returns the settings with the format of the predictions, and the samples to evaluate and to select on.
    """
    if config.out is not None:
        check_folder(config.out, "the results")
    check_metrics(config.metrics)
    recipe = None
    if config.weights is not None:
        recipe = check_weights(config.weights, config.local_weights, config.cam.model)
    else:
        config = dataclasses.replace(config, predictions_format=predictions_kind(config))
    samples, others = read_splits(config, images=config.weights is not None)
    for name, images in (("faithfulness", config.faithfulness), ("stability", config.stability)):
        if images is not None and not any(sample.labels for sample in samples.samples):
            raise UserError(f"no image of split {config.split} has a label: expected labelled images for --{name}")
    if config.weights is not None and recipe is not None:
        check_annotated(samples, config.weights, recipe.classes)
    return config, samples, others


def _write(folder: Path, report: EvaluationReport) -> None:
    """Write the report, and separately the run time, so that repeated evaluations give identical reports."""
    write_text(folder / "evaluation.json", json.dumps(report.to_json(), indent=2) + "\n")
    write_text(folder / "evaluation.md", report_table(dataclasses.replace(report, seconds={})) + "\n")
    seconds = {name: round(spent, 3) for name, spent in report.seconds.items()}
    write_text(folder / "seconds.json", json.dumps(seconds, indent=2) + "\n")
