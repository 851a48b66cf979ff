"""Training runs: set up the model, data and device, then train, validate, save and log each epoch."""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import InitProcessGroupKwargs

from heads.downsampling import Downsampling
from wsl.config import TrainConfig, to_json
from wsl.errors import UserError, counted
from wsl.models import Localizer, choose_device, create
from wsl.progress import progress
from wsl.samples import SampleSet
from wsl.training import run_check
from wsl.training.epoch_table import EpochTable, figures
from wsl.training.learner import Learner
from wsl.training.lr_search import LrSearch
from wsl.training.optimizer import count_epochs
from wsl.training.run_folder import RunFolder
from wsl.training.sources import naming_dead_workers
from wsl.training.spec_check import check_train_specs
from wsl.training.validation import Scores

log = logging.getLogger("wsl")

# The other processes wait while the first computes the features of all images, or trains a decoder before the next
# run: longer than torch's ten minutes. A process that dies is noticed at once, because its connections are closed.
_LONGEST_WAIT = datetime.timedelta(days=7)


class Run:
    """A training run that is ready to start or to be resumed.

    Raises:
        UserError: a setting, the data or the weights cannot be used.
    """

    def __init__(self, config: TrainConfig, samples: SampleSet, val: SampleSet | None) -> None:
        check_train_specs(config)  # now rather than after a download
        self.config, self.folder = config, RunFolder(config.out)
        self._writer_class = _summary_writer() if config.tensorboard else None
        self._accelerator = _accelerator(config)
        if config.track:
            self._accelerator.init_trackers("wsl-train", config=_flat(json.loads(to_json(config))))
        torch.manual_seed(config.seed)
        model = create(config.model, samples.classes, config.preprocessing, multi_label=config.optim.multi_label)
        if self._accelerator.is_main_process and config.model.downsampling is not None:
            log.info("pooling inside the backbone: %s", ", ".join(_downsampling_layers(model)))
        self._learner = Learner(model, samples, val, config, self._accelerator)

    @property
    def skipped(self) -> int:
        """The number of images that could not be read."""
        return self._learner.skipped

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return bool(self._accelerator.is_main_process)

    def search_lr(self, steps: int) -> LrSearch:
        """Search for a learning rate; the state of the run is unchanged afterwards."""
        with progress("learning rate", steps) as advance:
            return self._learner.search_lr(steps, advance)

    def epochs(self, started: float) -> dict[str, Any]:
        """Train all remaining epochs, and return the record of the best. `started` is the start time of the run.

        Raises:
            UserError: the state to resume from cannot be used.
            RunError: the loss is no longer finite, no image could be read, or the disk is full.
        """
        config, run, learner = self.config, self.folder, self._learner
        first = run.load(learner) if config.resume else 0
        main, last = self._accelerator.is_main_process, count_epochs(config.optim)
        if main and not config.resume:
            run.start(config)
        elif main:
            run_check.record(config.out, optim=config.optim)  # the number of epochs may have been raised
        patience = config.patience
        table = EpochTable(last, first, config.best_by, time.perf_counter() - started)
        with _scalars(config, self._writer_class if main else None, first) as write_scalars:
            for epoch in range(first + 1, last + 1):
                waited = run.epochs_since_best(config.best_by) if main and patience is not None else 0
                if learner.agreed(patience is not None and waited >= patience):
                    if main:
                        log.info("stopped: %s without a better %s", counted(waited, "epoch"), config.best_by)
                    break
                with naming_dead_workers():
                    record = self._epoch(epoch, started)
                self._accelerator.log({name: value for name, value in record.items() if value is not None}, step=epoch)
                if main:
                    write_scalars(record)
                    log.info("%s", table.row(record, run.best(config.best_by)))
        for tracker in self._accelerator.trackers:  # `end_training` would also destroy the process group
            tracker.finish()
        if main:
            run.describe(config, learner.model.classes, learner.train_images)
        return learner.agreed(run.best(config.best_by) if main else {})

    def _epoch(self, epoch: int, started: float) -> dict[str, Any]:
        """Train, validate and save one epoch, and return its line of ``metrics.jsonl``."""
        learner, main = self._learner, self._accelerator.is_main_process
        with progress(f"epoch {epoch}/{count_epochs(self.config.optim)}", learner.images) as advance:
            stats = learner.train_epoch(epoch, advance, keep=lambda: self._keep_state(epoch))
        record: dict[str, Any] = {"epoch": epoch, "loss": stats.loss, "lr": stats.lr}
        try:
            with learner.measured():
                scores = learner.validate()
                if scores is not None:
                    record |= {"mAP": scores.mAP, "pointing": scores.pointing}
                record["skipped"] = learner.skipped
                record["images_per_second"] = stats.images * self._accelerator.num_processes / stats.seconds
                record["seconds"] = time.perf_counter() - started
                if main:
                    self.folder.keep(learner.model, record, self.config.best_by, scores)
        except KeyboardInterrupt:  # the epoch is already trained: keep its state, so that it need not be trained again
            if main:
                self.folder.keep_state(learner.state_dict(), epoch - 1)
            raise
        learner.finish_epoch()
        if main:
            self.folder.keep_state(learner.state_dict(), epoch)
        learner.wait()
        return record

    def _keep_state(self, epoch: int) -> None:
        """Save the state within an epoch."""
        if self._accelerator.is_main_process:
            self.folder.keep_state(self._learner.state_dict(), epoch - 1)
        self._learner.wait()

    def probe(self) -> Scores | None:
        """Fit a linear probe to the features on which the head was trained, and save it with the best epoch's model.

        The run's figures by class become those of the model with the probe.

        Returns the scores of that model on the validation split, or None without one. They are not written to
        ``metrics.jsonl``, which has one line per epoch: a probe belongs to no epoch, and can be fitted again with other
        settings.
        """
        learner = self._learner
        learner.fit_probe()
        if self.first:
            kept = self.folder.keep_probe(learner.model, self.config.probing)
            learner.model.head.load_state_dict(kept.head.state_dict())
        learner.agree()
        scores = learner.validate()
        if scores is not None and self.first:
            self.folder.keep_figures(scores)
            self.folder.describe(self.config, learner.model.classes, learner.train_images)
            log.info("%s", "  ".join(["probe", *figures({"mAP": scores.mAP, "pointing": scores.pointing})]))
        return scores


def _downsampling_layers(model: Localizer) -> list[str]:
    """The poolings that replace the backbone's own, each with its name."""
    modules = model.backbone.net.named_modules()
    return [f"{name}: {layer}" for name, layer in modules if isinstance(layer, Downsampling)]


def _accelerator(config: TrainConfig) -> Accelerator:
    wanted = choose_device(config.runtime.device)
    _forget_other_devices(wanted)
    missing = set(config.track) - {tracker.value for tracker in get_available_trackers()}
    if missing:
        name = min(missing)
        raise UserError(f"--track {name} needs its package: pip install {name.replace('_', '-')}")
    # The training loop handles precision itself.
    tracked: dict[str, Any] = {"log_with": list(config.track), "project_dir": str(config.out)} if config.track else {}
    patience = InitProcessGroupKwargs(timeout=_LONGEST_WAIT)
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="no", kwargs_handlers=[patience], **tracked)
    if accelerator.device.type != wanted.type or wanted != torch.device(wanted.type):
        raise UserError(
            f"device {config.runtime.device!r}: training runs on {accelerator.device}; choose among several GPUs with "
            "CUDA_VISIBLE_DEVICES, and use several with 'accelerate launch'"
        )
    return accelerator


def _forget_other_devices(wanted: torch.device) -> None:
    """Reset accelerate's state, which keeps the first device, so that a process can train on another kind of device."""
    state = PartialState._shared_state
    if state and state["device"].type != wanted.type and state["distributed_type"] == DistributedType.NO:
        AcceleratorState._reset_state(reset_partial_state=True)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings in the form that trackers accept: a flat dictionary of numbers and strings."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def _summary_writer() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs the tensorboard extra: pip install 'wsl-toolkit[tensorboard]'") from error


@contextlib.contextmanager
def _scalars(config: TrainConfig, writer_class: Any, first: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes a record's numbers for TensorBoard; older values of epochs after `first` are purged."""
    if writer_class is None:
        yield lambda record: None
        return
    with contextlib.closing(writer_class(config.out / "tensorboard", purge_step=first + 1)) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, record["epoch"])

        yield write
