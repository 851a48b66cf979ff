"""A check of the specs in the settings of a training, before weights are downloaded."""

from __future__ import annotations

from wsl.config import TrainConfig
from wsl.images.tensors import Normalise
from wsl.models.create_head import check_specs
from wsl.training.augmentation import create_augmentation
from wsl.training.erasing import create_eraser
from wsl.training.objectives import create_objective


def check_train_specs(config: TrainConfig) -> None:
    """Check the names and arguments of pooling, head, neck, downsampling, losses, augmentations and erasing layers.

    Raises:
        UserError: a name is unknown, or a value is out of range.

    >>> from pathlib import Path
    >>> from wsl.config import DataConfig, OptimConfig
    >>> config = TrainConfig(data=DataConfig(data=Path("photos")), out=Path("run"), optim=OptimConfig(loss="bec"))
    >>> check_train_specs(config)
    Traceback (most recent call last):
    wsl.errors.UserError: unknown loss 'bec': did you mean 'bce'?
    """
    model, optim = config.model, config.optim
    check_specs(model.pooling, model.head, model.neck, model.downsampling)
    create_objective(optim.loss, classes=1, channels=1)
    create_augmentation(optim.augment, Normalise(config.preprocessing), config.seed, config.preprocessing.image_size)
    if optim.erase is not None:
        create_eraser(optim.erase)
