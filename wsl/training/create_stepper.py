"""Create the stepper of a run from its settings: network, objective, optimizer and class weights."""

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
    """Create the stepper for a model that is already on its device.

    The second classifier of ReCAM is added to the model if the loss has that term, and batch norm is converted to
    synchronized batch norm if the settings ask for it.

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
    network = TrainedNetwork(
        model, objective, dtype, features=config.freeze_backbone, checkpointing=settings.checkpointing
    )
    _join(objective, model)
    objective.to(device)
    _convert_batch_norm(model, config, device, processes)
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
    """Add the second classifier of ReCAM to the head, if the head supports it."""
    for term in objective.objectives:
        if isinstance(term, ReCAM):
            try:
                term.join(model.add_reactivation())
            except UserError as error:
                log.info("recam: the maps are those of the first classifier alone (%s)", error)


def _apart(objective: ObjectiveSum, model: Localizer) -> list[nn.Module]:
    """The terms of the objective whose parameters do not belong to the model."""
    own = set(model.parameters())
    return [term for term in objective.objectives if not own & set(term.parameters())]


def _convert_batch_norm(model: Localizer, config: OptimConfig, device: torch.device, processes: Processes) -> None:
    """Convert batch norm to use the statistics of all processes, if the settings ask for it."""
    if config.batch_norm != "sync" or not processes.several:
        return
    if device.type != "cuda":
        raise UserError(f"--batch-norm sync on {device.type}: expected GPUs, or own or frozen")
    # The conversion is in place unless the module is itself a batch-norm layer.
    nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)  # type: ignore[no-untyped-call]
