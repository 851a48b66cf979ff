"""How boxes are drawn with a run's model: the threshold and rule that were selected for it on some split."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from wsl import config
from wsl.config import BoxRule
from wsl.errors import UserError
from wsl.files import write_text
from wsl.models.checkpoint import FILE_NAME as MODEL_FILE

log = logging.getLogger("wsl")

FILE_NAME = "boxes.json"


@dataclass(frozen=True, kw_only=True)
class SelectedBoxes:
    """What ``wsl-evaluate --select-threshold`` found to be best, and what that is worth.

    ``accuracy`` is the fraction of the split's (image, class) pairs whose box has IoU >= ``iou`` with an instance.
    ``model`` is the SHA-256 of the checkpoint, and ``refine`` how its maps were refined, that it was selected for.
    """

    threshold: float
    box_rule: BoxRule
    data: str
    split: str
    iou: float
    accuracy: float
    pairs: int
    refine: str = "none"
    model: str = ""


def save_selected(selected: SelectedBoxes, folder: Path) -> Path:
    """Write ``boxes.json`` into a run or results folder, replacing an old one in a single step."""
    path = folder / FILE_NAME
    write_text(path, config.to_json(selected) + "\n")
    return path


def load_selected(weights: str | Path, refine: str = "none") -> SelectedBoxes | None:
    """What was selected for a run (its folder, or the checkpoint in it); None when nothing was.

    A run that was trained again since has another model, and maps refined otherwise have other heights, so what was
    selected for those counts no more.

    Raises:
        UserError: the file is malformed.

    >>> load_selected("resnet50") is None
    True
    """
    folder = _folder(weights)
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        selected = config.from_json(path.read_text(encoding="utf-8"), SelectedBoxes)
    except (UserError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}; remove it, or select the threshold again") from error
    if selected.model != model_digest(folder):
        log.warning("%s was selected for another state of the run and is left alone: select the threshold again", path)
        return None
    if selected.refine != refine:
        log.warning("%s was selected for maps with --refine %s and is left alone", path, selected.refine)
        return None
    return selected


def run_folder(weights: str | Path) -> Path | None:
    """The folder of a run, if this names one.

    >>> run_folder("resnet50") is None
    True
    """
    folder = _folder(weights)
    return folder if (folder / MODEL_FILE).is_file() else None


def model_digest(folder: Path) -> str:
    """SHA-256 of the checkpoint in a folder; empty without one."""
    file = folder / MODEL_FILE
    if not file.is_file():
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _folder(weights: str | Path) -> Path:
    path = Path(weights)
    return path if path.is_dir() else path.parent if path.is_file() and path.name == MODEL_FILE else path
