"""What learns: model, batches, optimizer and loss scaling of one run, set up for the device and the processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.distributed.algorithms.join import Join

from wsl.config import TrainConfig
from wsl.errors import UserError
from wsl.models import GradientHead, Localizer, autocast, choose_dtype
from wsl.progress import Advance, progress
from wsl.samples import SampleSet
from wsl.training.fitting import check_head, fit_head, fit_probe, own_classifier
from wsl.training.loop import EpochStats, run_epoch
from wsl.training.optimizer import create_optimizer, trains_backbone
from wsl.training.sources import BatchSource, FeatureSource, ImageSource, Shard
from wsl.training.validation import Scores, validate


class Learner:
    """One training run in memory: trains an epoch, validates, and can be saved and put back between epochs.

    Everything that an epoch draws at random (order, crops, flips, dropout) comes from the seed and the epoch's
    number, so that a run continued from `state_dict` ends in the same weights as one that never stopped.

    Raises:
        UserError: the settings do not fit the device or the data.
    """

    def __init__(
        self, model: Localizer, samples: SampleSet, val: SampleSet | None, config: TrainConfig, accelerator: Accelerator
    ) -> None:
        self.model, self.config = model, config
        fits = config.optim.optimizer == "lbfgs"
        if fits:
            check_head(model.head)
        self._val, self._accelerator = val, accelerator
        device = accelerator.device
        model.backbone.requires_grad_(trains_backbone(config.optim))
        # On the CPU the images alone decide the layout, and the optimizer is quicker with plain weights.
        layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
        model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        # A head on cached features has nothing to gain from lower precision.
        self.dtype = choose_dtype("fp32" if config.optim.freeze_backbone else config.runtime.precision, device)
        self.source = self._create_source(samples)
        self._initialise_encoder()  # before processes are joined, which gives all of them the first one's weights
        self.optimizer = None if fits else create_optimizer(model, config.optim)
        # The gradients of float16 would vanish below 6e-8; elsewhere the scaler does nothing.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.network: nn.Module = accelerator.prepare(self.source.network)

    @property
    def skipped(self) -> int:
        """Images that could not be read so far."""
        return len(self.source.skipped)

    @property
    def images(self) -> int:
        """Images of an epoch that its progress counts."""
        if self.optimizer is None and isinstance(self.source, FeatureSource):
            return self.source.views
        return self.source.steps * self.config.optim.batch_size

    def train_epoch(self, epoch: int, advance: Advance) -> EpochStats:
        """Train on every image once, or fit the head at once; `advance` is told the images done.

        Raises:
            RunError: the loss or the weights are no longer finite, or no image could be read.
        """
        if self.optimizer is None:
            return self._fit_head(advance)
        rank = self._accelerator.process_index
        torch.manual_seed(int(np.random.SeedSequence((self.config.seed, epoch, rank)).generate_state(1)[0]))
        self.model.train()
        if not trains_backbone(self.config.optim):
            self.model.backbone.eval()  # its running statistics stay as they are too
        parallel = self._accelerator.num_processes > 1
        # A batch of nothing but unreadable images is left out: the others then go on without this process.
        with Join([self.network]) if parallel else contextlib.nullcontext():  # type: ignore[list-item]
            return run_epoch(
                self.network,
                self.optimizer,
                self.scaler,
                self.source.batches(epoch),
                self.config.optim,
                device=self._accelerator.device,
                dtype=self.dtype,
                epoch=epoch,
                steps=self.source.steps,
                advance=advance,
            )

    def validate(self) -> Scores | None:
        """Measure the validation split, in the arithmetic of the training; None where there is none."""
        if self._val is None:
            return None
        self.model.eval()
        return validate(self._val.classes, self.source.localizations())

    def fit_probe(self) -> None:
        """Give the model a linear probe of the features that its head was trained on."""
        source, config = self.source, self.config
        assert isinstance(source, FeatureSource)
        classifier = own_classifier(self.model, config.model)
        with progress("probe", source.views) as advance:
            fit_probe(self.model, source, config.probing, classifier, advance)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on after an epoch."""
        return {
            "model": self.model.state_dict(),
            "optimizer": {} if self.optimizer is None else self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])

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
        accelerator = self._accelerator
        if len(samples) < accelerator.num_processes:
            raise UserError(
                f"{len(samples)} training images for {accelerator.num_processes} processes: expected one each or more"
            )
        kind = FeatureSource if self.config.optim.freeze_backbone else ImageSource
        shard = Shard(accelerator.process_index, accelerator.num_processes)
        with accelerator.main_process_first():  # which computes the cached features for all
            return kind(self.model, samples, self._val, self.config, accelerator.device, shard)

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
        for inputs, _, _ in self.source.batches(0):
            if self.config.optim.freeze_backbone:
                yield inputs
            else:
                with autocast(self._accelerator.device, self.dtype):
                    yield self.model.backbone(inputs)
