"""Fingerprints of models, which identify their weights."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from wsl import config
from wsl.models.localizer import Localizer
from wsl.models.onnx import OnnxLocalizer
from wsl.models.protocol import Model


def fingerprint(model: Model) -> str:
    """The SHA-256 of a model's weights and classes, and of its recipe if it has one.

    It depends neither on the file from which the weights were read nor on the device.

    >>> model = Localizer("tinynet", 2, weights="none")
    >>> fingerprint(model) == fingerprint(model), fingerprint(model) == fingerprint(Localizer("tinynet", 2))
    (True, False)
    """
    digest = hashlib.sha256(config.to_json([*model.classes]).encode())
    digest.update(config.to_json(model.preprocessing).encode())
    net: object = model
    if isinstance(net, OnnxLocalizer):
        digest.update(net.file)
    elif isinstance(net, nn.Module):
        if isinstance(net, Localizer):
            digest.update(config.to_json(net.recipe).encode())
        for name, tensor in sorted(net.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            # As bytes, because NumPy has no bfloat16.
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
