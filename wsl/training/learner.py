"""The learner: model, batches, optimizer and loss scaling of one run, set up for the device and the processes."""

from __future__ import annotations

import contextlib
import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn

from wsl.config import TrainConfig
from wsl.errors import UserError, listed
from wsl.interrupts import deferred
from wsl.models import GradientHead, Localizer, autocast, choose_dtype
from wsl.progress import Advance, progress
from wsl.samples import SampleSet
from wsl.training.balance import balanced_chances
from wsl.training.create_stepper import create_stepper
from wsl.training.erasing import insert_eraser
from wsl.training.fitting import check_head, fit_head, fit_probe, own_classifier
from wsl.training.loop import EpochStats, Position, run_epoch
from wsl.training.lr_search import LrSearch, search_lr
from wsl.training.network import Example
from wsl.training.optimizer import trains_backbone
from wsl.training.order import Order, Shard
from wsl.training.processes import Processes
from wsl.training.sources import BatchSource, FeatureSource, ImageSource
from wsl.training.validation import Scores, validate

T = TypeVar("T")


class Learner:
    """One training run in memory, which trains epochs, validates, and can be saved and restored after any step.

    All random numbers derive from the seed and a counter: order, crops and flips from the epoch and the image, dropout
    from the step. A run continued from `state_dict` ends with the same weights as an uninterrupted one, and a run of
    several processes with those of a single process, up to the order of summation.

    Raises:
        UserError: the settings do not fit the device or the data.
    """

    def __init__(
        self, model: Localizer, samples: SampleSet, val: SampleSet | None, config: TrainConfig, accelerator: Accelerator
    ) -> None:
        self.model, self.config = model, config
        optim = config.optim
        fits = optim.optimizer == "lbfgs"
        if fits:
            check_head(model.head)
        self._val, self._accelerator, self._samples = val, accelerator, samples
        self._processes = Processes(Shard(accelerator.process_index, accelerator.num_processes))
        device = accelerator.device
        model.backbone.requires_grad_(trains_backbone(optim))
        if optim.erase is not None:
            insert_eraser(model.backbone, optim.erase)
        # On the CPU the layout follows from the images, and the optimizer is faster with contiguous weights.
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        # A head on cached features gains nothing from lower precision.
        self.dtype = choose_dtype("fp32" if optim.freeze_backbone else config.runtime.precision, device)
        self.source = self._create_source(samples)
        self._initialise_encoder()  # before the first process's weights are sent to the others
        self.stepper = None if fits else create_stepper(model, samples, config, self.dtype, device, self._processes)
        self.agree()
        self._position = Position()

    @property
    def skipped(self) -> int:
        """Number of images that could not be read so far."""
        return len(self.source.skipped)

    @property
    def train_images(self) -> int:
        """Number of training images, including unreadable ones."""
        return len(self._samples)

    @property
    def images(self) -> int:
        """Number of images that the progress of an epoch counts."""
        if self.stepper is None and isinstance(self.source, FeatureSource):
            return self.source.views
        order = self.source.order
        return -(-order.count // order.shard.processes)

    def train_epoch(self, epoch: int, advance: Advance, keep: Callable[[], None] | None = None) -> EpochStats:
        """Train on every image once, or fit the head by L-BFGS; `advance` receives the number of images done.

        If `load_state_dict` restored a state within the epoch, the rest is trained. `keep` is called when the state is
        to be saved within the epoch.

        Raises:
            RunError: the loss or a weight is not finite, or no image could be read.
            KeyboardInterrupt: a signal arrived; the state was saved after the last step.
        """
        if self.stepper is None:
            return self._fit_head(advance)
        self._set_modes()
        position, steps = self._position, self.source.order.steps
        with deferred() as pending:
            stats = run_epoch(
                self.stepper,
                self.source.batches(epoch, position.step) if position.step < steps else (),
                epoch=epoch,
                steps=steps,
                position=position,
                advance=advance,
                pending=pending,
                keep=keep,
                save_every=self.config.save_every,
                describe=self._names,
            )
        # The buffers of the other processes (batch-norm statistics) are dropped: the first process's model is saved.
        self._processes.agree(self.model.buffers())
        return stats

    def search_lr(self, steps: int, advance: Advance) -> LrSearch:
        """Search for a learning rate on batches of the first epochs; afterwards the state is restored."""
        assert self.stepper is not None
        before = copy.deepcopy(self.state_dict())
        self._set_modes()

        def batches() -> Iterator[Example]:
            for epoch in itertools.count(1):
                yield from self.source.batches(epoch)

        try:
            return search_lr(self.stepper, itertools.islice(batches(), steps), steps, advance)
        finally:
            self.load_state_dict(before)

    def finish_epoch(self) -> None:
        """Reset the position to the first step of the next epoch."""
        self._position = Position()

    def measured(self) -> contextlib.AbstractContextManager[None]:
        """A context in which the model has the weights to validate and save: the averages, if there are any."""
        average = None if self.stepper is None else self.stepper.average
        return contextlib.nullcontext() if average is None else average.applied()

    def agreed(self, value: T) -> T:
        """The value of the first process, in all processes."""
        return self._processes.gather(value)[0]

    def wait(self) -> None:
        """Wait for all processes.

        Raises:
            RunError: another process has ended.
        """
        self._processes.gather(None)

    def agree(self) -> None:
        """Copy the model of the first process to all others."""
        self._processes.agree(self.model.state_dict().values())

    def validate(self) -> Scores | None:
        """Evaluate the model on the validation split; None if there is no such split.

        Each process evaluates its part of the images, and all get the figures of the whole split.
        """
        if self._val is None:
            return None
        self.model.eval()
        return validate(
            self._val.classes,
            self.source.localizations(),
            self._processes.gather,
            multi_label=self.model.recipe.multi_label,
        )

    def fit_probe(self) -> None:
        """Add a linear probe to the model, fitted to the features that its head was trained on.

        The first process fits it; those of the others get its weights by `agree`.
        """
        model, source, config = self.model, self.source, self.config
        assert isinstance(source, FeatureSource)
        if self._accelerator.is_main_process:
            classifier = own_classifier(model, config.model)
            with progress("probe", source.views) as advance:
                fit_probe(model, source, config.probing, classifier, advance)
        posteriors = self.agreed(model.recipe.probe)
        if not self._accelerator.is_main_process:
            model.add_probe(posteriors or 0)

    def state_dict(self) -> dict[str, Any]:
        """The state for `load_state_dict`, within or after an epoch."""
        state: dict[str, Any] = {"model": self.model.state_dict(), "optimizer": {}}
        if self.stepper is not None:
            state["optimizer"] = self.stepper.optimizer.state_dict()
            state["scaler"] = self.stepper.scaler.state_dict()
            state["objective"] = self.stepper.network.objective.state_dict()
            if self.stepper.average is not None:
                state["average"] = self.stepper.average.state_dict()
        if self._position.step:
            position = self._position
            state["position"] = {"step": position.step, "loss": position.loss.cpu(), "images": position.images}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state from `state_dict`."""
        self.model.load_state_dict(state["model"])
        if self.stepper is not None:
            self.stepper.optimizer.load_state_dict(state["optimizer"])
            self.stepper.network.objective.load_state_dict(state["objective"])
            if state["scaler"] and self.stepper.scaler.is_enabled():
                self.stepper.scaler.load_state_dict(state["scaler"])
            if self.stepper.average is not None:
                self.stepper.average.load_state_dict(state["average"])
        self._position = Position(**state["position"]) if "position" in state else Position()

    def _names(self, index: torch.Tensor) -> str:
        """The paths of training images, for messages."""
        return listed([str(self._samples.samples[image].path) for image in index.tolist()], most=3)

    def _set_modes(self) -> None:
        """Set training mode, except for the parts that are frozen."""
        optim = self.config.optim
        self.model.train()
        if not trains_backbone(optim):
            self.model.backbone.eval()  # keeps its running statistics too
        if optim.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _fit_head(self, advance: Advance) -> EpochStats:
        """Fit the head in the first process, and send its weights to the others."""
        started, accelerator, head = time.perf_counter(), self._accelerator, self.model.head
        assert isinstance(self.source, FeatureSource)
        loss, images = 0.0, 0
        if accelerator.is_main_process:
            loss, images = fit_head(head, self.model.classes, self.source, self.config.optim.lbfgs_penalty, advance)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(broadcast(parameter.detach().clone()))
        # The log comes from the first process, and counts the images of one process.
        return EpochStats(loss, None, images // accelerator.num_processes, time.perf_counter() - started)

    def _create_source(self, samples: SampleSet) -> BatchSource:
        accelerator, optim = self._accelerator, self.config.optim
        chances = balanced_chances(samples) if optim.sampling == "balanced" else None
        order = Order(len(samples), optim.batch_size, self.config.seed, self._processes.shard, chances)
        kind = FeatureSource if optim.freeze_backbone else ImageSource
        if not accelerator.is_main_process:  # the first computes the cached features for all
            self.wait()
        source = kind(self.model, samples, self._val, self.config, accelerator.device, order)
        if accelerator.is_main_process:
            self.wait()
        return source

    def _initialise_encoder(self) -> None:
        """Initialise an encoder that starts from data, with the features at the beginning of the training.

        An encoder that was copied from another run is already initialised, and a resumed run restores its own.
        """
        head, backbone = self.model.head, self.model.backbone
        if not isinstance(head, GradientHead) or not head.classifier.encoder.needs_fit():
            return
        before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
        backbone.train(trains_backbone(self.config.optim))
        generator = torch.Generator().manual_seed(self.config.seed)
        try:
            head.classifier.initialise(self._first_features(), generator=generator)
        except ValueError as error:
            raise UserError(f"{head.classifier.encoder} cannot start from the training images: {error}") from error
        finally:
            backbone.load_state_dict(before)  # running statistics included

    @torch.no_grad()
    def _first_features(self) -> Iterator[torch.Tensor]:
        for example in self.source.batches(0):
            inputs = example.inputs
            if self.config.optim.freeze_backbone:
                yield inputs
            else:
                with autocast(self._accelerator.device, self.dtype):
                    yield self.model.backbone(inputs)
