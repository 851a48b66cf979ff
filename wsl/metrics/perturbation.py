"""A model's probabilities for an image while the pixels highlighted by a map are inserted, deleted, or kept alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics.bootstrap import Doubles

Scorer = Callable[[torch.Tensor], torch.Tensor]
"""A function from model inputs (N, 3, H, W) to probabilities (N, classes)."""


class Curves(NamedTuple):
    """The class's probability as pixels are inserted and as they are deleted, most important first."""

    insertion: Doubles
    deletion: Doubles

    @property
    def insertion_area(self) -> float:
        """The area under the insertion curve; high if the important pixels suffice."""
        return _area(self.insertion)

    @property
    def deletion_area(self) -> float:
        """The area under the deletion curve; low if the important pixels are needed."""
        return _area(self.deletion)


def insertion_deletion(
    model: Scorer,
    image: torch.Tensor,
    score_map: npt.ArrayLike,
    class_index: int,
    *,
    steps: int = 224,
    blur: tuple[int, float] = (11, 5.0),
    removed: float = 0.0,
    batch_size: int = 32,
) -> Curves:
    """The probability of a class as pixels are inserted or deleted in equal steps, from the highest map value down.

    Deletion starts with the image and sets pixels to ``removed`` (0 is the mean colour of a normalised image);
    insertion starts with the image blurred by a Gaussian of ``blur`` (kernel width, sigma). The map is resized
    bilinearly to the image; equal values are taken in reading order.

    Shape:
        ``image`` (3, H, W) is the model's input, ``score_map`` (h, w) covers it; each curve is (steps + 1,), from no
        pixel changed to all.

    Raises:
        UserError: a shape is another one, a number is out of range, or the model does not return probabilities.

    Source: Petsiuk et al., RISE, BMVC 2018, section 4.3.

    >>> brightness = lambda images: images.mean(dim=(1, 2, 3))[:, None]
    >>> image = torch.zeros(3, 2, 2)
    >>> image[:, 0, 0] = 1
    >>> insertion_deletion(brightness, image, [[1, 0], [0, 0]], 0, steps=4, blur=(1, 1.0)).deletion.tolist()
    [0.25, 0.0, 0.0, 0.0, 0.0]
    """
    _require_image(image)
    if steps < 1 or batch_size < 1:
        raise UserError(f"{steps} steps in batches of {batch_size}, expected 1 or more of each")
    heat = heatmap(score_map, (image.shape[2], image.shape[1]))
    order = torch.from_numpy(np.argsort(-heat, axis=None, kind="stable")).to(image.device)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=image.device)
    rank = rank.reshape(image.shape[1:])
    moved = [-(-step * len(order) // steps) for step in range(steps + 1)]
    blurred = _blurred(image, *blur)
    insertion = _scores(model, (torch.where(rank < n, image, blurred) for n in moved), class_index, batch_size)
    gone = torch.full_like(image, removed)
    deletion = _scores(model, (torch.where(rank < n, gone, image) for n in moved), class_index, batch_size)
    return Curves(insertion, deletion)


def confidence_change(
    model: Scorer, image: torch.Tensor, score_map: npt.ArrayLike, class_index: int, *, removed: float = 0.0
) -> tuple[float, bool]:
    """The relative drop of a class's probability when only highlighted pixels are kept, and whether it rises instead.

    The map, resized bilinearly and normalised to [0, 1], fades the image to ``removed`` where it is low. The mean of
    the first over images is Grad-CAM++'s average drop, that of the second its increase in confidence.

    Shape:
        ``image`` (3, H, W) is the model's input, ``score_map`` (h, w) covers it.

    Raises:
        UserError: a shape is another one, or the model does not return probabilities.

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018, section 4.1.

    >>> brightness = lambda images: images.mean(dim=(1, 2, 3))[:, None]
    >>> confidence_change(brightness, torch.ones(3, 1, 2), [[0, 1]], 0)
    (0.5, False)
    """
    _require_image(image)
    heat = torch.from_numpy(heatmap(score_map, (image.shape[2], image.shape[1]))).to(image)
    shown = image * heat + removed * (1 - heat)
    before, after = _scores(model, iter((image, shown)), class_index, 2).tolist()
    return max(0.0, before - after) / before if before > 0 else 0.0, after > before


def _scores(model: Scorer, images: Iterator[torch.Tensor], class_index: int, batch_size: int) -> Doubles:
    """The probability of one class for each image, with at most a batch of images in memory."""
    values: list[float] = []
    with torch.no_grad():
        while batch := list(islice(images, batch_size)):
            scores = model(torch.stack(batch))
            if scores.ndim != 2 or len(scores) != len(batch) or not 0 <= class_index < scores.shape[1]:
                given = f"scores of shape {tuple(scores.shape)} for {len(batch)} images"
                raise UserError(f"the model gives {given}, expected (images, classes) with class {class_index}")
            values += scores[:, class_index].double().cpu().tolist()
    found = np.array(values)
    if not ((found >= 0) & (found <= 1)).all():
        raise UserError(
            "the model gives something outside [0, 1], expected probabilities: apply its softmax or sigmoid"
        )
    return found


def _blurred(image: torch.Tensor, width: int, sigma: float) -> torch.Tensor:
    if width < 1 or width % 2 == 0 or not sigma > 0:
        raise UserError(f"blur is {(width, sigma)}, expected an odd kernel width and a positive sigma: try (11, 5)")
    x = torch.arange(width, dtype=image.dtype, device=image.device) - width // 2
    kernel = torch.exp(-((x / sigma) ** 2) / 2)
    kernel = (kernel / kernel.sum()).expand(image.shape[0], 1, 1, width)
    half = width // 2
    across = functional.conv2d(image[None], kernel, padding=(0, half), groups=image.shape[0])
    return functional.conv2d(across, kernel.transpose(2, 3), padding=(half, 0), groups=image.shape[0])[0]


def _area(curve: Doubles) -> float:
    return float(((curve[1:] + curve[:-1]) / 2).mean())


def _require_image(image: torch.Tensor) -> None:
    if image.ndim != 3 or not image.is_floating_point():
        raise UserError(f"the image is {tuple(image.shape)} of {image.dtype}, expected floats (channels, H, W)")
