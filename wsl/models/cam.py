"""Class activation maps in one call: from a model and a batch of images to maps of some classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import nn

from wsl.cam.methods import AUTO, IN_GRAPH
from wsl.checkpoints import check_classes
from wsl.config import Precision
from wsl.config.checks import checks_keywords
from wsl.errors import RunError, UserError
from wsl.models.cam_localizer import CamLocalizer
from wsl.models.device import choose_dtype
from wsl.models.localizer import Localizer
from wsl.models.protocol import Model

Classes = Sequence[str | int] | Sequence[Sequence[str | int]] | torch.Tensor


@checks_keywords
def cam(
    model: Model | nn.Module,
    images: torch.Tensor,
    classes: Classes | None = None,
    *,
    method: str = AUTO,
    layers: Sequence[str] = (),
    precision: Precision = "fp32",
) -> torch.Tensor:
    """Class activation maps of images, by a method of `wsl.cam.list_methods`.

    `model` is a `Localizer`, a `CamLocalizer`, or any module that gives scores of images. Such a module is first
    converted to a localizer; for several batches convert it once with `Localizer.from_classifier`. `classes` are the
    classes of every image, by name or index; or a list of such lists, or a tensor (N, J), for each image. None takes
    the highest-scored class. `method` "auto" takes the model's own class maps if it has them. `layers` are names from
    `named_modules`; the maps of several are fused. `precision` is the arithmetic of the network: "auto" takes bfloat16
    if the device computes it faster.

    Maps are raw: their values are comparable between images, and are only clipped or stretched if the method itself
    does so. The model's mode, gradients, hooks and weights are not changed.

    Shape:
        Normalised images (N, 3, H, W) to maps (N, J, h, w), float32.

    Raises:
        UserError: a class, method or layer is unknown, images have another shape, or the number of lists of classes is
            not the number of images.
        RunError: the model's scores are not finite.

    >>> from torchvision.models import mobilenet_v3_small
    >>> cam(mobilenet_v3_small(), torch.randn(2, 3, 64, 64), classes=[281, 207], method="layercam").shape
    torch.Size([2, 2, 2, 2])
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not images.is_floating_point():
        given = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        single = isinstance(images, torch.Tensor) and images.ndim == 3 and images.is_floating_point()
        advice = "add an axis with images[None]" if single else "predictor.images gives one of prepared images"
        raise UserError(f"images are {given}, expected a normalised floating tensor (N, 3, H, W): {advice}")
    ready = _localizer(model, method, layers).for_inference(images.device, choose_dtype(precision, images.device))
    output = ready(images.float())
    scores = output.scores
    broken = (~scores.isfinite().all(1)).nonzero().flatten().tolist()
    if broken:
        raise RunError(f"the model's scores of image {broken[0]} are not finite: look at its weights and the input")
    if classes is None:
        chosen = scores.argmax(1, keepdim=True)
    else:
        names = getattr(model, "classes", ())
        chosen = _indices(classes, scores.shape, names).to(images.device)
    return output.maps_of(chosen).float()


def _localizer(model: Any, method: str, layers: Sequence[str]) -> Model:
    own = method in (AUTO, IN_GRAPH) and not layers
    if isinstance(model, Localizer):
        return model if own else CamLocalizer.of(model, method=method, layers=layers)
    if isinstance(model, CamLocalizer) and not (method == AUTO and not layers):
        return model.by(method, layers)
    if not hasattr(model, "for_inference"):
        if not isinstance(model, nn.Module):
            raise UserError(f"model is a {type(model).__name__}, expected a Localizer or a module that gives scores")
        return Localizer.from_classifier(model, method=method, layers=layers)
    if not own and not isinstance(model, CamLocalizer):
        raise UserError(f"a {type(model).__name__} has its class maps alone: expected method auto and no layers")
    found: Model = model
    return found


def _indices(classes: Any, shape: Sequence[int], names: Sequence[str]) -> torch.Tensor:
    """Class indices (N, J) for images whose scores have this shape."""
    images, count = shape
    if isinstance(classes, (torch.Tensor, np.ndarray, np.generic)):
        classes = classes.tolist()
    if not isinstance(classes, Iterable) or isinstance(classes, str):
        raise UserError(f"classes is {classes!r}, expected a list: [{classes!r}]")
    rows = list(classes)
    if not rows or not all(isinstance(row, (list, tuple)) for row in rows):
        rows = [rows] * images
    if len(rows) != images:
        raise UserError(f"{len(rows)} lists of classes for {images} images: expected one per image")
    if len({len(row) for row in rows}) > 1:
        raise UserError(f"lists of {sorted({len(row) for row in rows})} classes: expected as many for every image")
    odd = [one for row in rows for one in row if isinstance(one, (bool, float)) or not isinstance(one, (str, Integral))]
    if odd:
        raise UserError(f"classes holds {odd[0]!r}, expected names or whole numbers")
    named = {one for row in rows for one in row if isinstance(one, str)}
    if named and not names:
        raise UserError(
            f"classes holds {min(named)!r}, and the classes of a module have no names: expected numbers, or "
            "Localizer.from_classifier(module, classes=[...])"
        )
    check_classes(named, names)
    index = {name: number for number, name in enumerate(names)}
    numbers = [[index[one] if isinstance(one, str) else int(one) for one in row] for row in rows]
    outside = [one for row in numbers for one in row if not 0 <= one < count]
    if outside:
        raise UserError(f"class {outside[0]} is out of range: the model has {count} classes, 0 to {count - 1}")
    return torch.tensor(numbers, dtype=torch.long).reshape(images, -1)
