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
    net: object = model
    described = [[*model.classes], model.preprocessing, *([net.recipe] if isinstance(net, Localizer) else [])]
    digest = hashlib.sha256("".join(map(config.to_json, described)).encode())
    if isinstance(net, OnnxLocalizer):
        digest.update(net.file)
    elif isinstance(net, nn.Module):
        add_weights(digest, net)
    return digest.hexdigest()


def add_weights(digest: hashlib._Hash, module: nn.Module) -> None:
    """Add the names, types, shapes and values of a module's tensors to a hash.

    >>> one, other = hashlib.sha256(), hashlib.sha256()
    >>> add_weights(one, nn.ReLU()); one.digest() == other.digest()
    True
    """
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes, because NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
