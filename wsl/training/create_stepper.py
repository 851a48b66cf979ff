"""The stepper of a run, by its settings: network, objective, optimizer and weights of classes."""

from __future__ import annotations

import logging

import torch
from torch import nn

from wsl.config import OptimConfig, TrainConfig
from wsl.errors import UserError
from wsl.models import Localizer
from wsl.samples import SampleSet
from wsl.training.balance import balanced_weights
from wsl.training.network import TrainedNetwork
from wsl.training.objectives import ObjectiveSum, ReCAM, create_objective
from wsl.training.optimizer import create_optimizer
from wsl.training.processes import Processes
from wsl.training.step import Stepper

log = logging.getLogger("wsl")


def create_stepper(
    model: Localizer,
    samples: SampleSet,
    settings: TrainConfig,
    dtype: torch.dtype,
    device: torch.device,
    processes: Processes,
) -> Stepper:
    """What trains a model that is on its device.

    The model gets the second classifier of ReCAM where the loss has that term, and synchronized batch norm where the
    settings ask for it.

    Raises:
        UserError: the settings do not fit the device, the model or each other.

    >>> from pathlib import Path
    >>> from wsl.config import DataConfig
    >>> config = TrainConfig(data=DataConfig(data=Path("voc")), out=Path("runs/gap"))
    >>> model, samples = Localizer("tinynet", classes=["dog"], weights="none"), SampleSet(classes=["dog"], samples=[])
    >>> stepper = create_stepper(model, samples, config, torch.float32, torch.device("cpu"), Processes())
    >>> stepper.network.objective, type(stepper.optimizer).__name__
    (bce, 'AdamW')
    """
    config = settings.optim
    objective = create_objective(config.loss, classes=len(model.classes), channels=model.backbone.out_channels)
    _join(objective, model)
    objective.to(device)
    _convert_batch_norm(model, config, device, processes)
    network = TrainedNetwork(
        model, objective, dtype, features=config.freeze_backbone, checkpointing=settings.checkpointing
    )
    if settings.compile:
        network.compile()
    if config.class_weights == "balanced":
        network.pair_weights = balanced_weights(samples).to(device)
    return Stepper(
        network,
        create_optimizer(model, config, *_apart(objective, model)),
        config,
        dtype=dtype,
        device=device,
        processes=processes,
        seed=settings.seed,
    )


def _join(objective: ObjectiveSum, model: Localizer) -> None:
    """Let the head have the second classifier of ReCAM, where it can."""
    for term in objective.objectives:
        if isinstance(term, ReCAM):
            try:
                term.join(model.add_reactivation())
            except UserError as error:
                log.info("recam: the maps are those of the first classifier alone (%s)", error)


def _apart(objective: ObjectiveSum, model: Localizer) -> list[nn.Module]:
    """Terms whose weights are not the model's."""
    own = set(model.parameters())
    return [term for term in objective.objectives if not own & set(term.parameters())]


def _convert_batch_norm(model: Localizer, config: OptimConfig, device: torch.device, processes: Processes) -> None:
    """Let batch norm take the statistics of all processes, where the settings ask for it."""
    if config.batch_norm != "sync" or not processes.several:
        return
    if device.type != "cuda":
        raise UserError(f"--batch-norm sync on {device.type}: expected GPUs, or own or frozen")
    # In place, but for a layer alone.
    nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)  # type: ignore[no-untyped-call]
