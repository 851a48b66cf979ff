"""The epochs of a training run: model, data and device set up, each epoch trained, validated, kept and logged."""

from __future__ import annotations

import contextlib
import importlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.state import AcceleratorState, PartialState

from heads.downsampling import Downsampling
from wsl.config import TrainConfig
from wsl.errors import UserError
from wsl.models import Localizer, choose_device, create
from wsl.progress import progress
from wsl.samples import SampleSet
from wsl.training.learner import Learner
from wsl.training.optimizer import count_epochs
from wsl.training.run_folder import RunFolder
from wsl.training.validation import Scores

log = logging.getLogger("wsl")


class Run:
    """A training run that is ready to start, or to be resumed; ``skipped`` counts the images that cannot be read.

    Raises:
        UserError: a setting, the data or the weights cannot be used.
    """

    def __init__(self, config: TrainConfig, samples: SampleSet, val: SampleSet | None) -> None:
        self.config, self.folder = config, RunFolder(config.out)
        self._writer_class = _summary_writer() if config.tensorboard else None
        self._accelerator = _accelerator(config)
        torch.manual_seed(config.seed)
        model = create(
            config.model, samples.classes, config.preprocessing, multi_label=config.optim.loss != "cross-entropy"
        )
        if self._accelerator.is_main_process and config.model.downsampling is not None:
            log.info("pooling inside the backbone: %s", ", ".join(_downsampling_layers(model)))
        self._learner = Learner(model, samples, val, config, self._accelerator)

    @property
    def skipped(self) -> int:
        """Images that could not be read."""
        return self._learner.skipped

    def epochs(self, started: float) -> dict[str, Any]:
        """Train all epochs that are left; the record of the best. `started` is when the clock of the run began.

        Raises:
            UserError: the state to resume from cannot be used.
            RunError: the loss is no longer finite, no image could be read, or the disk is full.
        """
        config, run, accelerator = self.config, self.folder, self._accelerator
        first = run.load(self._learner) if config.resume else 0
        main = accelerator.is_main_process
        if main and not config.resume:
            run.start(config)
        with _scalars(config, self._writer_class if main else None, first) as write_scalars:
            for epoch in range(first + 1, count_epochs(config.optim) + 1):
                record = _train_epoch(self._learner, epoch, accelerator)
                record["seconds"] = time.perf_counter() - started
                if main:
                    run.keep(self._learner.model, self._learner.state_dict(), record, config.best_by)
                    write_scalars(record)
                    log.info("%s", _line(record, config))
                accelerator.wait_for_everyone()
        return run.best(config.best_by)

    def probe(self) -> Scores | None:
        """Fit a linear probe to the features that the head was trained on, and keep it with the best epoch's model.

        The result is how good that model then is on the validation split; None without one. ``metrics.jsonl`` stays a
        line for each epoch: a probe belongs to none, and can be fitted again with other settings.
        """
        learner = self._learner
        learner.fit_probe()
        kept = self.folder.keep_probe(learner.model, self.config.probing)
        learner.model.head.load_state_dict(kept.head.state_dict())
        scores = learner.validate()
        if scores is not None:
            log.info("%s", "  ".join(["probe", *_figures({"mAP": scores.mAP, "pointing": scores.pointing})]))
        return scores


def _downsampling_layers(model: Localizer) -> list[str]:
    """The poolings inside the backbone that took the place of its own, by name."""
    modules = model.backbone.net.named_modules()
    return [f"{name}: {layer}" for name, layer in modules if isinstance(layer, Downsampling)]


def _train_epoch(learner: Learner, epoch: int, accelerator: Accelerator) -> dict[str, Any]:
    """One epoch and its validation, as a line of ``metrics.jsonl``."""
    with progress(f"epoch {epoch}/{count_epochs(learner.config.optim)}", learner.images) as advance:
        stats = learner.train_epoch(epoch, advance)
    record: dict[str, Any] = {"epoch": epoch, "loss": stats.loss, "lr": stats.lr}
    scores = learner.validate()
    if scores is not None:
        record |= {"mAP": scores.mAP, "pointing": scores.pointing}
    record["skipped"] = learner.skipped
    record["images_per_second"] = stats.images * accelerator.num_processes / stats.seconds
    return record


def _accelerator(config: TrainConfig) -> Accelerator:
    wanted = choose_device(config.runtime.device)
    _forget_other_devices(wanted)
    accelerator = Accelerator(cpu=wanted.type == "cpu", mixed_precision="no")  # the loop knows its own
    if accelerator.device.type != wanted.type or wanted != torch.device(wanted.type):
        raise UserError(
            f"device {config.runtime.device!r}: training runs on {accelerator.device}; choose among several GPUs with "
            "CUDA_VISIBLE_DEVICES, and use several with 'accelerate launch'"
        )
    return accelerator


def _forget_other_devices(wanted: torch.device) -> None:
    """Let a process that has trained on one kind of device train on another: accelerate keeps the first."""
    state = PartialState._shared_state
    if state and state["device"].type != wanted.type and state["distributed_type"] == DistributedType.NO:
        AcceleratorState._reset_state(reset_partial_state=True)


def _line(record: dict[str, Any], config: TrainConfig) -> str:
    parts = [f"epoch {record['epoch']}/{count_epochs(config.optim)}", f"loss {record['loss']:.4f}"]
    parts += [] if record["lr"] is None else [f"lr {record['lr']:.2g}"]
    parts += [*_figures(record), f"{record['images_per_second']:.0f} images/s", f"{record['seconds']:.0f} s"]
    return "  ".join(parts)


def _figures(record: dict[str, Any]) -> list[str]:
    return [f"{name} {record[name]:.3f}" for name in ("mAP", "pointing") if record.get(name) is not None]


def _summary_writer() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise UserError("--tensorboard needs the tensorboard extra: pip install 'wsl-toolkit[tensorboard]'") from error


@contextlib.contextmanager
def _scalars(config: TrainConfig, writer_class: Any, first: int) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes a record's figures for TensorBoard; what older runs wrote after `first` is withdrawn."""
    if writer_class is None:
        yield lambda record: None
        return
    with contextlib.closing(writer_class(config.out / "tensorboard", purge_step=first + 1)) as writer:

        def write(record: dict[str, Any]) -> None:
            for name, value in record.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, record["epoch"])

        yield write
