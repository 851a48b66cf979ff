"""Batches of images as normalised tensors on the network's device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from wsl.config import Preprocessing
from wsl.errors import UserError

UInt8Array = npt.NDArray[np.uint8]


class Normalise:
    """Images to normalised network input, ``(x / 255 - mean) / std`` in float32 on the device.

    Bytes are transferred to the device, a quarter of the size of floats.

    >>> normalise = Normalise(Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    >>> x = normalise(np.full((2, 32, 32, 3), 255, np.uint8))
    >>> tuple(x.shape), x.unique().tolist()
    ((2, 3, 32, 32), [1.0])
    """

    def __init__(self, preprocessing: Preprocessing, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.mean = torch.tensor(preprocessing.mean, dtype=torch.float32).mul(255).to(self.device)
        self.std = torch.tensor(preprocessing.std, dtype=torch.float32).mul(255).to(self.device)

    def __call__(self, batch: torch.Tensor | UInt8Array) -> torch.Tensor:
        """Normalise a batch of images from the CPU.

        Shape:
            (N, H, W, 3) uint8 to (N, 3, H, W) float32 in the channels-last memory format.

        Raises:
            UserError: the batch is not (N, H, W, 3) uint8.
        """
        if batch.ndim != 4 or batch.shape[-1] != 3 or batch.dtype not in (torch.uint8, np.uint8):
            raise UserError(f"a batch of shape {tuple(batch.shape)}, {batch.dtype}: expected (N, H, W, 3) uint8")
        if not isinstance(batch, torch.Tensor):
            if self.device.type == "cpu":
                return self._on_host(batch)
            batch = torch.from_numpy(np.require(batch, requirements=["C", "W"]))
        pixels = batch
        if self.device.type == "cuda" and pixels.device.type == "cpu":
            pixels = pixels.pin_memory()
        x = pixels.contiguous().to(self.device, non_blocking=True).to(torch.float32)
        return x.sub_(self.mean).div_(self.std).permute(0, 3, 1, 2)  # channels-last without a copy

    def _on_host(self, batch: UInt8Array) -> torch.Tensor:
        """The same on the CPU, image by image within the cache: four times as fast as three passes over the batch."""
        count, height, width, _ = batch.shape
        x = np.empty((count, height, width * 3), np.float32)
        mean, std = (np.tile(values.numpy(), width) for values in (self.mean, self.std))
        for image, target in zip(batch.reshape(x.shape), x, strict=True):
            np.subtract(image, mean, out=target)
            np.divide(target, std, out=target)
        return torch.from_numpy(x.reshape(batch.shape)).permute(0, 3, 1, 2)

    def invert(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images (N, 3, H, W) as RGB in [0, 1]."""
        shape = (-1, 1, 1)
        return images.mul(self.std.view(shape) / 255).add_(self.mean.view(shape) / 255)

    def planes(self, batch: torch.Tensor) -> torch.Tensor:
        """Normalise a batch that is already on the device, with one plane per channel.

        Shape:
            (N, 3, H, W) float32 with values 0 to 255 to the same shape, in the channels-last memory format.
        """
        x = batch.permute(0, 2, 3, 1).contiguous()
        return x.sub_(self.mean).div_(self.std).permute(0, 3, 1, 2)
