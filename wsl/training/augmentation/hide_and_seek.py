"""Hide-and-Seek: parts of the image are hidden, so that the network learns to recognise the others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.training.augmentation._transform import BatchTransform, Generators


class HideAndSeek(BatchTransform):
    """Fill each cell of a grid over the image with the mean colour, with probability ``p``.

    The side of the cells, in pixels of the network's input, is drawn from ``grid`` for each image; 0 hides nothing. The
    cells of the last row and column may be smaller.

    Source: Kumar Singh & Lee, Hide-and-Seek: Forcing a Network to be Meticulous, ICCV 2017.

    >>> HideAndSeek(grid=(0, 16))
    hide-and-seek(grid=(0, 16), p=0.5)
    """

    spec_name = "hide-and-seek"

    def __init__(self, grid: tuple[int, ...] | int = (0, 16, 32, 44, 56), p: float = 0.5) -> None:
        super().__init__()
        sides = grid if isinstance(grid, tuple) else (grid,)
        if not sides or not all(isinstance(side, int) and side >= 0 for side in sides):
            raise UserError(f"grid is {grid}, expected cell sizes in pixels, such as (0, 16, 32, 44, 56)")
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            raise UserError(f"p is {p}, expected a probability in [0, 1]")
        self.grid, self.p = sides, p

    def forward(
        self, images: Tensor, targets: Tensor, mask: Tensor, generators: Generators
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images with hidden cells."""
        height, width = images.shape[2:]
        shown = np.stack([self._shown(height, width, generator) for generator in generators])
        return images * torch.from_numpy(shown)[:, None].to(images), targets, mask

    def _shown(self, height: int, width: int, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
        """A mask (height, width) of the pixels that are not hidden."""
        side = int(generator.choice(self.grid))
        if side == 0:
            return np.ones((height, width), bool)
        rows, columns = -(-height // side), -(-width // side)
        stays = generator.random((rows, columns)) >= self.p
        return stays.repeat(side, 0).repeat(side, 1)[:height, :width]
