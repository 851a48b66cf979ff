"""Which threshold and rule boxes are drawn with: given, selected on a split, kept with the run, or the default."""

from __future__ import annotations

import dataclasses
import logging

from wsl.config import BoxConfig, EvaluateConfig
from wsl.config.shared import DEFAULT_THRESHOLDS
from wsl.data import read_samples
from wsl.errors import UserError
from wsl.metrics import ThresholdChoice, best_thresholds, box_accuracies
from wsl.models import SelectedBoxes, load_selected, model_digest, run_folder, save_selected
from wsl.progress import track
from wsl.results import BoxOrigin
from wsl.samples import SampleSet
from wsl.stopwatch import stage, timed
from wsl.verbs.predictions import Predictions

log = logging.getLogger("wsl")


def resolve_boxes(boxes: BoxConfig, weights: str, refine: str = "none") -> tuple[BoxConfig, BoxOrigin]:
    """The settings with what was left open filled in, and where threshold and rule come from.

    >>> str(resolve_boxes(BoxConfig(threshold=0.4), "resnet50")[1])
    'threshold 0.4 (largest part), given'
    """
    selected = None if boxes.threshold is not None and boxes.box_rule is not None else load_selected(weights, refine)
    resolved = (
        boxes.resolved(selected.threshold, selected.box_rule)
        if selected
        else boxes.resolved(DEFAULT_THRESHOLDS[refine])
    )
    if boxes.threshold is not None:
        origin = "given"
    elif selected is not None:
        origin = f"selected on {selected.split}"
    else:
        origin = "the default"
    return resolved, BoxOrigin(threshold=resolved.threshold, box_rule=resolved.box_rule, origin=origin)


def choose_boxes(
    config: EvaluateConfig, predictions: Predictions, samples: SampleSet
) -> tuple[BoxConfig | None, BoxOrigin]:
    """The settings to draw the evaluated boxes with (None: as they were drawn), and where they come from.

    Raises:
        UserError: selection was asked for, and the split shares images with the evaluated one or has no maps.
    """
    if config.select_threshold is not None:
        selected, by_metric = _select(config, predictions, samples, config.select_threshold)
        _keep(config, selected)
        boxes = config.boxes.resolved(selected.threshold, selected.box_rule)
        origin = BoxOrigin(
            threshold=boxes.threshold,
            box_rule=boxes.box_rule,
            origin=f"selected on {selected.split}",
            by_metric=by_metric,
        )
        return boxes, origin
    if config.weights is not None:
        return resolve_boxes(config.boxes, config.weights, predictions.refine)
    if config.boxes != BoxConfig():
        boxes = config.boxes.resolved()
        whose = "the default" if config.boxes.threshold is None else "given"
        return boxes, BoxOrigin(threshold=boxes.threshold, box_rule=boxes.box_rule, origin=whose)
    return None, predictions.origin


def _select(
    config: EvaluateConfig, predictions: Predictions, samples: SampleSet, split: str
) -> tuple[SelectedBoxes, dict[str, tuple[float, ...]]]:
    """The best threshold and rule on a split, and beside them the best thresholds of MaxBoxAcc's levels there."""
    others = read_samples(config.data, split, images=config.weights is not None)
    evaluated = {sample.path for sample in samples.samples}
    shared = [sample.id for sample in others.samples if sample.path in evaluated]
    if shared:
        raise UserError(
            f"split {split} shares {len(shared)} images with split {config.split}, {shared[0]!r} first: expected a "
            "split of other images to select the threshold on"
        )
    choice = ThresholdChoice(samples.classes, report_classes=config.report_classes, replicates=0)
    settings = {"report_classes": config.report_classes, "replicates": 0}
    max_boxes = box_accuracies(samples.classes, config.protocol, **settings)
    pairs = predictions.pairs(others, split, None)
    for found, sample in track(timed(pairs, predictions.stage), f"select on {split}", len(others)):
        if sample.boxes is not None:
            with stage("selecting the threshold"):
                choice.update(found, sample)
                for metric in max_boxes:
                    metric.update(found, sample)
    try:
        best = choice.choose()
    except UserError as error:
        raise UserError(f"split {split}: {error}") from error
    selected = SelectedBoxes(
        threshold=best.threshold,
        box_rule=best.box_rule,  # type: ignore[arg-type] # one of RULES
        data=config.data.data.as_posix(),
        split=split,
        iou=choice.iou_threshold,
        accuracy=best.accuracy,
        pairs=best.pairs,
        refine=predictions.refine,
    )
    return selected, {type(metric).__name__: best_thresholds(metric) for metric in max_boxes if metric.trials.sum()}


def _keep(config: EvaluateConfig, selected: SelectedBoxes) -> None:
    log.info(
        "threshold %g, box rule %s: selected on %s, where %.3f of %d boxes are right",
        selected.threshold,
        selected.box_rule,
        selected.split,
        selected.accuracy,
        selected.pairs,
    )
    save_selected(selected, config.out)
    run = run_folder(config.weights) if config.weights is not None else None
    if run is not None:
        path = save_selected(dataclasses.replace(selected, model=model_digest(run)), run)
        log.info("kept in %s: wsl-localize draws boxes with it from now on", path)
