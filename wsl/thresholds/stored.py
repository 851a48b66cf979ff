"""The threshold and rule for drawing boxes: given, stored with the run, or the default."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from wsl import config
from wsl.checkpoints import model_digest, run_folder
from wsl.config import BoxConfig, BoxRule
from wsl.config.shared import BOX_DEFAULTS, BoxDefaults
from wsl.documents import read_text
from wsl.errors import UserError
from wsl.files import write_text
from wsl.results import BoxOrigin

log = logging.getLogger("wsl")

FILE_NAME = "boxes.json"


@dataclass(frozen=True, kw_only=True)
class SelectedBoxes:
    """The settings selected by ``wsl-evaluate --select-threshold``, and their accuracy.

    ``accuracy`` is the fraction of the split's (image, class) pairs whose box has IoU >= ``iou`` with an instance.
    It holds for the checkpoint with the SHA-256 ``model``, and for maps made by ``cam`` and refined by ``refine``.
    """

    threshold: float
    box_rule: BoxRule
    data: str
    split: str
    iou: float
    accuracy: float
    pairs: int
    refine: str = "none"
    cam: str = "auto"
    model: str = ""

    @property
    def defaults(self) -> BoxDefaults:
        """The settings to use instead of the defaults."""
        return BOX_DEFAULTS[self.refine]._replace(threshold=self.threshold, box_rule=self.box_rule)


def save_selected(selected: SelectedBoxes, folder: Path) -> Path:
    """Write ``boxes.json`` into a run or results folder atomically, replacing an existing one."""
    path = folder / FILE_NAME
    write_text(path, config.to_json(selected) + "\n")
    return path


def load_selected(weights: str | Path, refine: str = "none", cam: str = "auto") -> SelectedBoxes | None:
    """The settings selected for a run (its folder, or the checkpoint in it); None if there are none.

    A selection is valid for one checkpoint, one method of making maps and one refinement: training again gives another
    model, and maps that are made or refined differently have other values.

    Raises:
        UserError: the file is malformed.

    >>> load_selected("resnet50") is None
    True
    """
    folder = run_folder(weights)
    if folder is None or not (folder / FILE_NAME).is_file():
        return None
    path = folder / FILE_NAME
    try:
        selected = config.from_json(read_text(path, "a selected threshold"), SelectedBoxes)
    except UserError as error:
        raise UserError(f"{path}: {error}; remove it, or select the threshold again") from error
    if selected.model != model_digest(folder):
        log.warning("%s was selected for another state of the run and is left alone: select the threshold again", path)
        return None
    if selected.cam != cam:
        log.warning("%s was selected for maps with --cam %s and is left alone", path, selected.cam)
        return None
    if selected.refine != refine:
        log.warning("%s was selected for maps with --refine %s and is left alone", path, selected.refine)
        return None
    return selected


def resolve_boxes(
    boxes: BoxConfig, weights: str, refine: str = "none", cam: str = "auto"
) -> tuple[BoxConfig, BoxOrigin]:
    """The resolved settings, and the origin of threshold and rule.

    >>> resolve_boxes(BoxConfig(threshold=0.4), "resnet50")[1].origin
    'given'
    """
    given = boxes.threshold is not None and boxes.box_rule is not None
    selected = None if given else load_selected(weights, refine, cam)
    if selected is None:
        resolved = boxes.resolved(BOX_DEFAULTS[refine])
    else:
        resolved = boxes.resolved(selected.defaults)
    if boxes.threshold is not None:
        origin = "given"
    elif selected is not None:
        origin = f"selected on {selected.split}"
    else:
        origin = "the default"
    return resolved, BoxOrigin(threshold=resolved.threshold, box_rule=resolved.box_rule, origin=origin)
