"""The threshold and box rule for an evaluation: selected on another split, or given by `resolve_boxes`."""

from __future__ import annotations

import dataclasses
import logging

from wsl.checkpoints import model_digest, run_folder
from wsl.config import BoxConfig, EvaluateConfig
from wsl.errors import BadImageError, UserError
from wsl.progress import track
from wsl.results import BoxOrigin
from wsl.samples import SampleSet
from wsl.stopwatch import timed
from wsl.thresholds.select import Selection, select_boxes
from wsl.thresholds.stored import SelectedBoxes, resolve_boxes, save_selected
from wsl.verbs.predictions import Predictions

log = logging.getLogger("wsl")


def choose_boxes(
    config: EvaluateConfig, predictions: Predictions, others: SampleSet | None, *, keep: bool = True
) -> tuple[BoxConfig | None, BoxOrigin]:
    """The settings for drawing the evaluated boxes (None: keep the boxes as they are), and their origin.

    `others` are the images of the split to select on; with `keep`, the selected settings are saved.

    Raises:
        UserError: a threshold is to be selected, and the split has no maps.
    """
    if config.select_threshold is not None and others is not None:
        selection = _select(config, predictions, others, config.select_threshold)
        selected = _selected(config, predictions, selection, config.select_threshold)
        if keep:
            _keep(config, selected)
        boxes = config.boxes.resolved(selected.defaults)
        origin = BoxOrigin(
            threshold=boxes.threshold,
            box_rule=boxes.box_rule,
            origin=f"selected on {selected.split}",
            by_metric=selection.by_metric,
        )
        return boxes, origin
    if config.weights is not None:
        return resolve_boxes(config.boxes, config.weights, predictions.refine, config.cam.maps)
    if config.boxes != BoxConfig():
        boxes = config.boxes.resolved()
        whose = "the default" if config.boxes.threshold is None else "given"
        return boxes, BoxOrigin(threshold=boxes.threshold, box_rule=boxes.box_rule, origin=whose)
    return None, predictions.origin


def _select(config: EvaluateConfig, predictions: Predictions, others: SampleSet, split: str) -> Selection:
    pairs = timed(predictions.pairs(others, split, None, read_boxes=False), predictions.stage)
    try:
        return select_boxes(
            track(pairs, f"select on {split}", len(others)),
            others.classes,
            report_classes=config.report_classes,
            protocol=config.protocol,
            num_thresholds=config.num_thresholds,
            processes=config.processes or 1,
        )
    except BadImageError:
        raise
    except UserError as error:
        raise UserError(f"split {split}: {error}") from error


def _selected(config: EvaluateConfig, predictions: Predictions, selection: Selection, split: str) -> SelectedBoxes:
    best = selection.best
    selected = SelectedBoxes(
        threshold=best.threshold,
        box_rule=best.box_rule,  # type: ignore[arg-type] # one of RULES
        data=config.data.data.as_posix(),
        split=split,
        iou=selection.iou,
        accuracy=best.accuracy,
        pairs=best.pairs,
        refine=predictions.refine,
        cam=config.cam.maps,
    )
    log.info(
        "threshold %g, box rule %s: selected on %s, where %.3f of %d boxes are correct",
        selected.threshold,
        selected.box_rule,
        selected.split,
        selected.accuracy,
        selected.pairs,
    )
    return selected


def _keep(config: EvaluateConfig, selected: SelectedBoxes) -> None:
    """Save the selected settings beside the evaluation and in the run folder of the model."""
    if config.out is not None:
        save_selected(selected, config.out)
    run = run_folder(config.weights) if config.weights is not None else None
    if run is not None:
        path = save_selected(dataclasses.replace(selected, model=model_digest(run)), run)
        log.info("saved to %s: wsl-localize draws boxes with it from now on", path)
