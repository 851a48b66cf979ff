"""The protocol of models: what a predictor requires of a model of any kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, get_args

import torch
from torch import nn

from wsl.config import Preprocessing, Refine
from wsl.errors import UserError
from wsl.models.grid import Grid

MapsOf = Callable[[torch.Tensor], torch.Tensor]
DetectedOf = Callable[[torch.Tensor], "Detected"]


class Features(NamedTuple):
    """Intermediate features (N, C, h, w), and the positions of their cells in the input; None if not known."""

    values: torch.Tensor
    grid: Grid | None


class LazyMaps(NamedTuple):
    """Lazy maps, and the positions of their cells in the input; None if not known.

    Shape:
        ``of`` takes class indices (N, J), int64, and returns their maps (N, J, h, w).
    """

    of: MapsOf
    grid: Grid | None


class Detected(NamedTuple):
    """The boxes that a detector found of J classes in N images, n each; many of them may cover the same object.

    Shape:
        ``xyxy`` (N, J, n, 4) float32 in pixels of the input, ``scores`` (N, J, n) float32 in [0, 1].
    """

    xyxy: torch.Tensor
    scores: torch.Tensor


class LazyOutput(NamedTuple):
    """Scores of a batch, its lazy maps, and its intermediate features.

    ``grid`` holds the positions of the maps' cells in the input; None if they are not known, in which case the cells
    are treated as equal parts. ``taps`` are empty unless requested; with them comes ``decoded``, the maps of the
    model's decoder with values in [0, 1], if it has one, and ``detected``, what its detector finds.

    Shape:
        ``scores`` is (N, K). ``maps_of`` takes class indices (N, J), int64, and returns their maps (N, J, h, w);
        ``detected`` returns what was found of these classes.
    """

    scores: torch.Tensor
    maps_of: MapsOf
    grid: Grid | None = None
    taps: tuple[Features, ...] = ()
    decoded: LazyMaps | None = None
    detected: DetectedOf | None = None

    def maps(self, *, decoded: bool = False) -> LazyMaps:
        """The maps of the head, or those of the decoder, which must exist."""
        if not decoded:
            return LazyMaps(self.maps_of, self.grid)
        assert self.decoded is not None
        return self.decoded


class InferenceModel(Protocol):
    """A model prepared for inference on one device: no gradients, no training mode, thread-safe."""

    def __call__(self, images: torch.Tensor, *, taps: bool = False) -> LazyOutput:
        """Scores, lazy maps and, if requested, intermediate features of normalised images (N, 3, H, W)."""

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""


class Model(Protocol):
    """A classifier with class maps."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the images must have gone through."""

    @property
    def levels(self) -> int:
        """The number of levels of intermediate features that a refinement can read."""

    @property
    def decodes(self) -> bool:
        """Whether the model has a map decoder."""

    @property
    def detects(self) -> bool:
        """Whether the model has a box detector beside it."""

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> InferenceModel:
        """A copy of the model prepared for inference; the model is not changed."""


def check_interface(model: object) -> None:
    """Refuse an object that is not a model, such as its name; the message says how to get a model from it.

    Raises:
        UserError: the object does not have the interface of `Model`.

    >>> check_interface("resnet50")
    Traceback (most recent call last):
    wsl.errors.UserError: the model is 'resnet50', expected an object: wsl.Localizer.from_classifier('resnet50') ...
    """
    if hasattr(model, "for_inference"):
        return
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        raise UserError(
            f"the model is {name!r}, expected an object: wsl.Localizer.from_classifier({name!r}) for a classifier, or "
            f"wsl.load({name!r}) for a run"
        )
    kind = type(model).__name__
    if isinstance(model, nn.Module):
        raise UserError(f"the model is a {kind}, expected a localizer: wsl.Localizer.from_classifier(module)")
    raise UserError(f"the model is a {kind}, expected a Localizer")


def gather_maps(maps: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The maps (N, J, h, w) of each image's classes (N, J), out of maps (N, K, h, w).

    >>> gather_maps(torch.zeros(1, 5, 2, 2), torch.tensor([[3, 4]])).shape
    torch.Size([1, 2, 2, 2])
    """
    rows = torch.arange(len(maps), device=maps.device)
    return maps[rows[:, None], classes]


def class_names(classes: Sequence[str], count: int) -> tuple[str, ...]:
    """The names of ``count`` classes; without names, numbered ones.

    Raises:
        UserError: the number of names is not ``count``.

    >>> class_names([], 2), class_names(["cat", "dog"], 2)
    (('class 0', 'class 1'), ('cat', 'dog'))
    """
    if not classes:
        return tuple(f"class {index}" for index in range(count))
    if len(classes) != count:
        raise UserError(f"{len(classes)} class names for {count} classes: expected as many")
    return tuple(classes)


def to_probabilities(scores: torch.Tensor, *, multi_label: bool) -> torch.Tensor:
    """Scores as probabilities in double precision, by sigmoids or by one softmax: (…, K) to (…, K).

    In single precision, all confident images would have equal probabilities and lose their ranking.

    >>> to_probabilities(torch.zeros(2), multi_label=False).tolist()
    [0.5, 0.5]
    """
    scores = (scores.cpu() if scores.device.type == "mps" else scores).double()  # MPS has no doubles
    return scores.sigmoid() if multi_label else scores.softmax(-1)


def resolve_refine(refine: Refine, model: Model) -> Refine:
    """The refinement that "auto" stands for.

    This is decoder for a model that has one, else affinity for a model with two levels of intermediate features.

    Raises:
        UserError: the refinement is unknown, or it is "decoder" for a model without one.

    >>> from wsl.models import Localizer
    >>> resolve_refine("auto", Localizer("resnet18", 2, weights="none"))
    'affinity'
    """
    if refine not in get_args(Refine):
        raise UserError(f"refine is {refine!r}, expected {', '.join(get_args(Refine))}")
    if refine == "decoder" and not model.decodes:
        raise UserError(
            "refine is 'decoder', but this model has no map decoder: expected affinity or none, or a run that "
            "wsl-train --decoder has trained one for"
        )
    if refine == "auto" and model.decodes:
        return "decoder"
    if refine == "auto":
        return "affinity" if model.levels >= 2 else "none"
    return refine
