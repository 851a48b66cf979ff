"""Maps that ignore the network: baselines for every method."""

from __future__ import annotations

import hashlib

import torch

from wsl.centre import centre_gaussian

__all__ = ["centre_gaussian", "random_maps"]


def random_maps(images: torch.Tensor, classes: torch.Tensor, size: tuple[int, int], *, seed: int = 0) -> torch.Tensor:
    """Independent uniform values in [0, 1).

    A map depends only on the pixels of its image, its class and `seed`: it is the same in any batch, on any device.

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
