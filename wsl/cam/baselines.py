"""Maps that know nothing: what any method has to beat."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from wsl.boxes import FloatArray
from wsl.cam.minmax import minmax


def centre_gaussian(size: tuple[int, int], sigma: float = 0.25) -> FloatArray:
    """A Gaussian in the middle of the image, ``sigma`` of each side wide, normalised to [0, 1].

    Shape:
        ``size`` is (width, height); the result is (height, width).

    Source: Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020, section 5.

    >>> centre_gaussian((5, 3)).argmax(), centre_gaussian((5, 3)).max()
    (np.int64(7), np.float32(1.0))
    """
    x, y = (np.exp(-((((np.arange(side) + 0.5) / side - 0.5) / sigma) ** 2) / 2) for side in size)
    return minmax(torch.from_numpy(np.outer(y, x).astype(np.float32))).numpy()


def random_maps(images: torch.Tensor, classes: torch.Tensor, size: tuple[int, int], *, seed: int = 0) -> torch.Tensor:
    """Independent uniform values in [0, 1).

    A map depends on the pixels of its image, on its class and on `seed`: it is the same in any batch, on any device.

    Shape:
        Images (N, ...), classes (N, J), integers, and `size` (h, w) to float32 maps (N, J, h, w) on the images' device.

    >>> images, classes = torch.rand(2, 3, 8, 8), torch.tensor([[4, 7], [7, 4]])
    >>> maps = random_maps(images, classes, (2, 3))
    >>> maps.shape, torch.equal(maps[1:], random_maps(images[1:], classes[1:], (2, 3)))
    (torch.Size([2, 2, 2, 3]), True)
    """
    maps = torch.empty(*classes.shape, *size)
    for image, wanted, row in zip(images, classes.tolist(), maps, strict=True):
        digest = hashlib.blake2b(image.detach().cpu().contiguous().view(torch.uint8).numpy(), digest_size=8)
        for index, one in zip(wanted, row, strict=True):
            salted = digest.copy()
            salted.update(f"{index},{seed}".encode())
            one.uniform_(generator=torch.Generator().manual_seed(int.from_bytes(salted.digest(), "little")))
    return maps.to(images.device)
