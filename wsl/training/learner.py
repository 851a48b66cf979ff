"""What learns: model, batches, optimizer and loss scaling of one run, set up for the device and the processes."""

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
    """One training run in memory: trains an epoch, validates, and can be saved and put back behind any step.

    Everything that is drawn at random comes from the seed and a number: order, crops and flips from the epoch's and the
    image's, dropout from the step's. A run continued from `state_dict` ends in the same weights as one that never
    stopped, and one of several processes in those of one process, but for the order in which sums are taken.

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
        # On the CPU the images alone decide the layout, and the optimizer is quicker with plain weights.
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        # A head on cached features has nothing to gain from lower precision.
        self.dtype = choose_dtype("fp32" if optim.freeze_backbone else config.runtime.precision, device)
        self.source = self._create_source(samples)
        self._initialise_encoder()  # before the processes agree on the first one's weights
        self.stepper = None if fits else create_stepper(model, samples, config, self.dtype, device, self._processes)
        self._processes.agree(model.state_dict().values())
        self._position = Position()

    @property
    def skipped(self) -> int:
        """Images that could not be read so far."""
        return len(self.source.skipped)

    @property
    def train_images(self) -> int:
        """Images of the training set, unreadable ones included."""
        return len(self._samples)

    @property
    def images(self) -> int:
        """Images of an epoch that its progress counts."""
        if self.stepper is None and isinstance(self.source, FeatureSource):
            return self.source.views
        order = self.source.order
        return -(-order.count // order.shard.processes)

    def train_epoch(self, epoch: int, advance: Advance, keep: Callable[[], None] | None = None) -> EpochStats:
        """Train on every image once, or fit the head at once; `advance` is told the images done.

        Where `load_state_dict` put back a part of the epoch, the rest is trained. ``keep`` is called when the state is
        to be kept within the epoch.

        Raises:
            RunError: the loss or the weights are no longer finite, or no image could be read.
            KeyboardInterrupt: a signal came; the state was kept behind the last step.
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
        # What each process counted of its own images is not kept: the model is the first one's.
        self._processes.agree(self.model.buffers())
        return stats

    def search_lr(self, steps: int, advance: Advance) -> LrSearch:
        """Look for a learning rate, on batches of the first epochs; afterwards the state is what it was."""
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
        """Begin the next epoch from its first step."""
        self._position = Position()

    def measured(self) -> contextlib.AbstractContextManager[None]:
        """While the context lasts, the model is the one to measure and to keep: averaged, where there is an average."""
        average = None if self.stepper is None else self.stepper.average
        return contextlib.nullcontext() if average is None else average.applied()

    def agreed(self, value: T) -> T:
        """The first process's value, which all of them then have."""
        return self._processes.gather(value)[0]

    def validate(self) -> Scores | None:
        """Measure the validation split, in the arithmetic of the training; None where there is none.

        Each process measures its part, and all have the figures of the whole.
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
        """Give the model a linear probe of the features that its head was trained on."""
        source, config = self.source, self.config
        assert isinstance(source, FeatureSource)
        classifier = own_classifier(self.model, config.model)
        with progress("probe", source.views) as advance:
            fit_probe(self.model, source, config.probing, classifier, advance)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on, within an epoch or behind it."""
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
        """Put back what `state_dict` gave."""
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
        """Images of the training set, for messages."""
        return listed([str(self._samples.samples[image].path) for image in index.tolist()], most=3)

    def _set_modes(self) -> None:
        """Training mode, but for what must stay as it is."""
        optim = self.config.optim
        self.model.train()
        if not trains_backbone(optim):
            self.model.backbone.eval()  # its running statistics stay as they are too
        if optim.batch_norm == "frozen":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _fit_head(self, advance: Advance) -> EpochStats:
        """Fit the head in the first process, and hand its weights to the others."""
        started, accelerator, head = time.perf_counter(), self._accelerator, self.model.head
        assert isinstance(self.source, FeatureSource)
        loss, images = 0.0, 0
        if accelerator.is_main_process:
            loss, images = fit_head(head, self.model.classes, self.source, self.config.optim.lbfgs_penalty, advance)
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(broadcast(parameter.detach().clone()))
        # What is logged is the first process's, and counts the images of one.
        return EpochStats(loss, None, images // accelerator.num_processes, time.perf_counter() - started)

    def _create_source(self, samples: SampleSet) -> BatchSource:
        accelerator, optim = self._accelerator, self.config.optim
        chances = balanced_chances(samples) if optim.sampling == "balanced" else None
        order = Order(len(samples), optim.batch_size, self.config.seed, self._processes.shard, chances)
        kind = FeatureSource if optim.freeze_backbone else ImageSource
        with accelerator.main_process_first():  # which computes the cached features for all
            return kind(self.model, samples, self._val, self.config, accelerator.device, order)

    def _initialise_encoder(self) -> None:
        """Show an encoder that starts from data the features that the training begins with.

        One that goes on from another run has its start already, and a continued run gets its own back.
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
