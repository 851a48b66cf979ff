"""The files of a run: ``config.json``, ``metrics.jsonl``, ``model.safetensors``, and ``last/`` for resuming."""

from __future__ import annotations

import errno
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from wsl import config
from wsl.config import ProbeConfig, TrainConfig
from wsl.documents import parse_json
from wsl.errors import RunError, UserError, first_line
from wsl.files import replacing, write_text
from wsl.models import Localizer, load, save
from wsl.training.run_check import CONFIG, record
from wsl.training.run_readme import run_readme
from wsl.training.validation import Scores


class Resumable(Protocol):
    """An object whose state can be restored."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> object:
        """Restore a state."""


class RunFolder:
    """The files of one training run; each is replaced atomically, so that a killed run leaves only complete files.

    ``metrics.jsonl`` has one line for each finished epoch: ``epoch`` (from 1), ``loss`` (mean over its steps), ``lr``
    (that of the head in the last step; null if the head is fitted by L-BFGS), ``mAP`` and ``pointing`` on the
    validation split (in [0, 1]; null if undefined; absent without such a split), ``skipped`` (unreadable images so
    far), ``images_per_second`` in training, and ``seconds`` since the start of the command. All except the last two are
    the same when the run is repeated.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / CONFIG
        self.metrics = path / "metrics.jsonl"
        self.model = path / "model.safetensors"
        self.classes = path / "classes.json"
        self.confusions = path / "confusions.json"
        self.last = path / "last" / "state.pt"

    def start(self, settings: TrainConfig) -> None:
        """Start a new run in the folder, replacing an old one."""
        for old in (self.last, self.model, self.classes, self.confusions):
            old.unlink(missing_ok=True)
        write_text(self.metrics, "")
        write_text(self.config, config.to_json(settings) + "\n")

    def keep(self, model: Localizer, record: dict[str, Any], best_by: str, scores: Scores | None = None) -> None:
        """Write the results of an epoch, except for the state, which is written last.

        The best model so far is stored, with its figures by class and its confusions.

        A run killed before `keep_state` repeats the epoch and writes the same files again.

        Raises:
            RunError: the disk is full.
        """
        before = [_rank(old, best_by) for old in self.records() if old["epoch"] < record["epoch"]]
        try:
            if not before or _rank(record, best_by) > max(before):
                save(model, self.model)
                self.keep_figures(scores or Scores(None, None))
            self._log(record)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise self._full(error) from error
            raise
        except RuntimeError as error:
            raise self._full(error) from error

    def keep_figures(self, scores: Scores) -> None:
        """Write the figures by class and the confusions of the stored model."""
        write_text(self.classes, json.dumps(list(scores.classes), indent=1) + "\n")
        confusions = {"predicted": scores.rule, "confusions": list(scores.confusions)}
        write_text(self.confusions, json.dumps(confusions, indent=1) + "\n")

    def describe(self, settings: TrainConfig, classes: Sequence[str], images: int) -> None:
        """Write the ``README.md`` of a finished run."""
        text = self.classes.read_text(encoding="utf-8") if self.classes.is_file() else "[]"
        rows = json.loads(text) or [{"class": name, "images": 0} for name in classes]
        known = json.loads(self.confusions.read_text(encoding="utf-8")) if self.confusions.is_file() else {}
        readme = run_readme(settings, self.best(settings.best_by), rows, images, known)
        write_text(self.path / "README.md", readme)

    def keep_state(self, state: Mapping[str, Any], epoch: int) -> None:
        """Write the state for resuming; `epoch` is the last finished epoch.

        Raises:
            RunError: the disk is full.
        """
        try:
            # Through a Python file, whose errors are OSErrors.
            with replacing(self.last) as temporary, temporary.open("wb") as file:
                torch.save({**state, "epoch": epoch}, file)
        except RuntimeError as error:
            raise self._full(error) from error

    def _full(self, error: Exception) -> RunError:
        return RunError(
            f"{self.path} could not be written ({first_line(error)}): is the disk full? The previous "
            "state is intact, and --resume continues from it"
        )

    def keep_probe(self, model: Localizer, probing: ProbeConfig) -> Localizer:
        """Add the probe of `model` to the model of the best epoch, record its settings, and return that model."""
        kept = load(self.model)
        assert model.probe is not None
        kept.add_probe(model.recipe.probe or 0).load_state_dict(model.probe.state_dict())
        save(kept, self.model)
        record(self.path, probing=probing)
        return kept

    def _log(self, record: dict[str, Any]) -> None:
        """Append one epoch to ``metrics.jsonl``, replacing what a killed run may have left of it."""
        kept = [old for old in self.records() if old["epoch"] < record["epoch"]]
        write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in [*kept, record]))

    def records(self) -> list[dict[str, Any]]:
        """The epochs logged so far, without malformed lines, such as those that a killed run leaves."""
        text = self.metrics.read_text(encoding="utf-8", errors="replace") if self.metrics.is_file() else ""
        return [record for record in map(_record, text.splitlines()) if record is not None]

    def best(self, best_by: str) -> dict[str, Any]:
        """The record of the epoch whose model is stored.

        Raises:
            UserError: no epoch was logged.
        """
        records = self.records()
        if not records:
            raise UserError(f"{self.metrics} has no epoch: --overwrite starts the run again")
        return max(records, key=lambda record: _rank(record, best_by))

    def epochs_since_best(self, best_by: str) -> int:
        """The number of epochs since the best one; 0 before the first."""
        records = self.records()
        return records[-1]["epoch"] - self.best(best_by)["epoch"] if records else 0

    def load(self, learner: Resumable) -> int:
        """Restore the state that `keep_state` saved, and return the last finished epoch.

        A run without a saved state starts from the beginning.

        Raises:
            UserError: the state is damaged or was written by another version.
        """
        if not self.last.is_file():
            return 0
        try:
            state = torch.load(self.last, map_location="cpu", weights_only=True)
            learner.load_state_dict(state)
            return int(state["epoch"])
        except (pickle.UnpicklingError, RuntimeError, KeyError, ValueError, TypeError, EOFError) as error:
            raise UserError(
                f"{self.last} cannot be resumed ({first_line(error)}): was it "
                "written by another version? --overwrite starts again"
            ) from error


def _rank(record: dict[str, Any], best_by: str) -> tuple[float, int]:
    """The rank of an epoch by its figure; of the epochs without one (it is undefined, or nothing is validated), which
    are below all others, the latest is best."""
    figure = record.get(best_by)
    return (-1.0, record["epoch"]) if figure is None else (float(figure), 0)


def _record(line: str) -> dict[str, Any] | None:
    """Parse a line of ``metrics.jsonl``; None unless it is the record of an epoch with figures in [0, 1] or null."""
    try:
        record = parse_json(line, "metrics", "an epoch")
    except UserError:
        return None
    epoch = record.get("epoch") if isinstance(record, dict) else None
    if type(epoch) is not int or not 0 < epoch < 1 << 62:
        return None
    figures = [record[name] for name in ("mAP", "pointing") if record.get(name) is not None]
    return record if all(type(figure) in (int, float) and 0 <= figure <= 1 for figure in figures) else None
