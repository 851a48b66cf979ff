"""Optimizer and learning-rate schedule; the rate depends only on the settings and the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from wsl.config import OptimConfig
from wsl.models import Localizer

# Devices for which torch has fused optimizers: 7 ms instead of 45 ms a step for resnet18 on a CPU.
_FUSED = ("cpu", "cuda")


def trains_backbone(config: OptimConfig) -> bool:
    """Whether the backbone is trained; otherwise it stays unchanged, including its running statistics.

    >>> trains_backbone(OptimConfig(backbone_lr_factor=0.0))
    False
    """
    return not config.freeze_backbone and config.backbone_lr_factor > 0


def count_epochs(config: OptimConfig) -> int:
    """The number of epochs of a training; 1 for a head fitted by L-BFGS.

    >>> count_epochs(OptimConfig()), count_epochs(OptimConfig(optimizer="lbfgs", freeze_backbone=True))
    (20, 1)
    """
    return 1 if config.optimizer == "lbfgs" else config.epochs


def create_optimizer(model: Localizer, config: OptimConfig, *others: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW: the head and `others` at ``lr``, the backbone at ``backbone_lr_factor`` times ``lr``.

    Weight decay applies to weights, but not to biases, norms and other vectors. A frozen backbone (or a factor of 0) is
    left out.

    >>> model = Localizer("tinynet", 2, weights="none")
    >>> [group["lr"] for group in create_optimizer(model, OptimConfig(lr=0.1)).param_groups]
    [0.1, 0.1, 0.010..., 0.010...]
    """
    parts: list[tuple[nn.Module, float]] = [(model.head, config.lr)]
    parts += [(module, config.lr) for module in others if any(True for _ in module.parameters())]
    if trains_backbone(config):
        parts.append((model.backbone, config.lr * config.backbone_lr_factor))
    groups = [group for module, lr in parts for group in split_decay(module, lr, config.weight_decay)]
    fused = all(p.device.type in _FUSED for p in model.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True, fused=fused)
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


def split_decay(module: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of a module: weights with weight decay, and biases, norms and other vectors without.

    >>> [len(group["params"]) for group in split_decay(nn.Linear(2, 3), 0.1, 1e-4)]
    [1, 1]
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": chosen, "lr": lr, "peak_lr": lr, "weight_decay": decay}
        for chosen, decay in (
            ([p for p in parameters if p.ndim > 1], weight_decay),
            ([p for p in parameters if p.ndim <= 1], 0.0),
        )
    ]


def lr_factor(step: int, steps: int, warmup: int, schedule: str) -> float:
    """The learning rate at a step of `steps`, counted from 0, as a fraction of its peak.

    It rises linearly over the `warmup` steps. Then ``cosine`` falls to zero, ``step`` falls to a tenth after 2/3 and to
    a hundredth after 8/9 of the remaining steps, and ``constant`` stays.

    >>> [round(lr_factor(step, 100, 10, "cosine"), 2) for step in (0, 9, 10, 55, 99)]
    [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "step":
        return 0.1 ** ((done >= 2 / 3) + (done >= 8 / 9))
    return 0.5 * (1 + math.cos(math.pi * done))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Set the learning rate of each group to its peak times `factor`, and return that of the head."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])
