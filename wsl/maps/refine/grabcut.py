"""Class maps segmented by GrabCut, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsl.errors import UserError
from wsl.maps.refine.working_grid import on_working_grid

CELLS = 128

# Shape of the colour model, one for foreground and one for background, which OpenCV fills in and refines.
_MODEL = (1, 65)
_NO_BOX = (0, 0, 0, 0)


def refine(maps: Tensor, image: Tensor | None, features: Sequence[Tensor]) -> Tensor:
    """Apply `grab_cut` with its defaults; the features are not used.

    >>> refine(torch.ones(1, 1, 2, 2), torch.ones(1, 3, 32, 32), []).shape
    torch.Size([1, 1, 32, 32])
    """
    return grab_cut(maps, image)


def grab_cut(
    maps: Tensor,
    image: Tensor | None,
    *,
    sure: float = 0.65,
    probable: float = 0.2,
    iterations: int = 5,
    cells: int = CELLS,
) -> Tensor:
    """Segment each map's object with OpenCV's GrabCut.

    Cells at or above ``sure`` of the map's range are foreground. Of the others, those above ``probable`` of the range
    start as foreground and the rest as background; ``iterations`` of two colour models and a minimum cut decide. If all
    cells would be foreground, the map's lowest cells remain background. The result has two values, the ends of the
    map's own range; a constant map is unchanged.

    It is slow: every map of every image is cut separately on one CPU core, in 30 to 80 ms at 128 cells, while a GPU
    waits. OpenCV's random numbers are seeded in a separate thread, so the result is reproducible and the random numbers
    of the caller's thread are not affected.

    Shape:
        ``maps`` (N, J, h, w) and ``image`` (N, 3, H, W), RGB in [0, 1], cover exactly the images. The result is
        (N, J, n, m) on the maps' device: the grid of the image, reduced to ``cells`` on the longer side if it is
        larger.

    Raises:
        UserError: there is no image, a tensor has another shape, or a setting is out of range.

    Source: Rother, Kolmogorov & Blake, GrabCut, SIGGRAPH 2004, by ``cv2.grabCut``.

    >>> halves = torch.tensor([0.1, 0.1, 0.9, 0.9]).repeat(4, 1).expand(1, 3, 4, 4)
    >>> part = torch.tensor([[0.0, 0, 8, 2], [0, 0, 8, 2], [0, 0, 8, 2], [0, 0, 1, 2]])
    >>> grab_cut(part[None, None], halves)[0, 0].tolist()[-1]
    [0.0, 0.0, 8.0, 8.0]
    """
    if not 0 <= probable <= sure <= 1 or sure == 0 or iterations < 1:
        raise UserError(
            f"sure {sure}, probable {probable}, iterations {iterations}: expected fractions of the range in [0, 1], "
            "the first at least as high, and 1 or more"
        )
    with torch.no_grad(), torch.autocast(maps.device.type, enabled=False):
        values, lowest, span, guide = on_working_grid(maps, image, cells)
        pixels = guide.permute(0, 2, 3, 1).mul(255).round_().clamp_(0, 255).to("cpu", torch.uint8).numpy()
        masks = values.cpu().numpy()
        with ThreadPoolExecutor(1) as thread:
            for picture, some in zip(pixels, masks, strict=True):
                for one in some:
                    thread.submit(_cut, np.ascontiguousarray(picture), one, sure, probable, iterations).result()
        return torch.from_numpy(masks).to(maps.device) * span + lowest


def _cut(
    image: npt.NDArray[np.uint8], values: npt.NDArray[np.float32], sure: float, probable: float, iterations: int
) -> None:
    """Turn values (h, w) into 1 for foreground and 0 for background, in place. Values without contrast become 0."""
    lowest, highest = values.min(), values.max()
    if not highest > lowest:  # NaN also counts as no contrast
        values -= lowest
        return
    fractions = (values - lowest) / (highest - lowest)
    mask = np.where(fractions > probable, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[fractions >= sure] = cv2.GC_FGD
    # OpenCV initialises the models with the random numbers of the current thread.
    cv2.setRNGSeed(0)
    cv2.grabCut(image, mask, _NO_BOX, np.zeros(_MODEL), np.zeros(_MODEL), iterations, cv2.GC_INIT_WITH_MASK)
    foreground = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    values[:] = fractions > 0 if foreground.all() else foreground
