"""Class maps from a network's activations and gradients: pure functions of tensors, one method a file.

>>> import torch
>>> from wsl.cam import gradient_maps
>>> gradient_maps(lambda features: features.mean((2, 3)), torch.ones(1, 2, 3, 4)).maps.shape
torch.Size([1, 2, 3, 4])
"""

from wsl.cam.gradient import GradientMaps, Method, gradient_maps

__all__ = ["GradientMaps", "Method", "gradient_maps"]
