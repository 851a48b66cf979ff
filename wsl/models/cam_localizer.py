"""Any trained classifier as a model: its scores, and class maps by a CAM method."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from heads import HeadOutput
from wsl.cam.explainer import Explainer, Inside
from wsl.cam.methods import AUTO, IN_GRAPH, Method, parse_method
from wsl.cam.survey import Survey, survey
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models.cam_inference import InferenceCam
from wsl.models.outputs import find_scores, unwrapped
from wsl.models.protocol import to_probabilities
from wsl.models.ready import ReadyCopies

Forward = Callable[[Any, torch.Tensor], Any]


class CamLocalizer(nn.Module):
    """A classifier that localizes by a CAM method, with no training: scores are its own, maps are made on demand.

    `net` is any module that gives scores of images; it becomes a part of this one and is not changed. `method` is a
    spec string of `wsl.cam.list_methods`, such as ``layercam`` or ``scorecam(channels=64)``; "auto" is ``legrad`` where
    the scores are those of a class token, and ``layercam`` elsewhere. `layers` are names of `net.named_modules`; by
    default the last layer that the scores depend on, and for methods of several layers those of the last stages.
    `output` names the scores in the module's output, where they are not found; `forward` calls a module that takes more
    than images. `multi_label` says whether scores become probabilities by a sigmoid each or by one softmax.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w).

    Raises:
        UserError: an unknown method or layer, a network that does not take the images, one without spatial layers or
            scores, or one that has not what the method reads.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 2))
    >>> model = CamLocalizer(net, classes=["cat", "dog"], preprocessing=Preprocessing(image_size=32))
    >>> model.method, model.layers
    ('layercam', ('1',))
    >>> scores, maps = model(torch.zeros(1, 3, 32, 32))
    >>> scores.shape, maps.shape
    (torch.Size([1, 2]), torch.Size([1, 2, 30, 30]))
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        method: str = AUTO,
        layers: Sequence[str] = (),
        classes: Sequence[str] = (),
        preprocessing: Preprocessing | None = None,
        output: str | int | None = None,
        forward: Forward | None = None,
        multi_label: bool = False,
    ) -> None:
        super().__init__()
        self.net = unwrapped(net)
        self.preprocessing = preprocessing or Preprocessing()
        self.multi_label = multi_label
        self._output, self._forward = output, forward
        self._ready: ReadyCopies[InferenceCam] = ReadyCopies()
        ours = self.copy_net()
        images = _noise(self.preprocessing.image_size)
        found, count = _look(ours, self.scorer(ours), images)
        self.classes = _class_names(classes, count)
        self.method, self.why = _chosen(method, found)
        self._method: Method = parse_method(self.method)[1]
        self.layers = _layers(layers, self._method, found)
        self.inside = Inside(self.layers, found.blocks, found.prefix, found.by_class_token)
        self.levels = 0
        Explainer(ours, self.scorer(ours), self._method, self.inside)(images[:1])  # what cannot work is said now

    def copy_net(self) -> nn.Module:
        """A copy of the network in evaluation mode and float32, without gradients of its weights.

        Raises:
            UserError: the network cannot be copied.
        """
        try:
            with torch.inference_mode(False):
                return copy.deepcopy(self.net).eval().requires_grad_(False).float()
        except (RuntimeError, TypeError) as error:
            raise UserError(
                f"{type(self.net).__name__} cannot be copied ({str(error).splitlines()[0]}): expected a module that "
                "copy.deepcopy takes"
            ) from error

    def scorer(self, net: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """The scores (N, K) of images by a copy of the network."""
        forward, output = self._forward, self._output
        return lambda images: find_scores(net(images) if forward is None else forward(net, images), output)

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Scores and the maps of all classes, without gradients; `for_inference` gives those of a few classes."""
        ready = self.for_inference(images.device, torch.float32)
        output = ready(images)
        every = torch.arange(output.scores.shape[1], device=images.device).expand(output.scores.shape)
        return HeadOutput(output.scores, output.maps_of(every))

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> InferenceCam:
        """The model ready to run on a device in an arithmetic; the model itself stays as it is.

        The copy is kept and given again until a weight changes, as that of a `Localizer`.
        """
        return self._ready.get(self, device, dtype, lambda: self._make_ready(device, dtype))

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self.multi_label)

    def _make_ready(self, device: torch.device, dtype: torch.dtype) -> InferenceCam:
        net = self.copy_net()
        return InferenceCam(
            net, self.scorer(net), self._method, self.inside, device, dtype, multi_label=self.multi_label
        )


def _noise(side: int) -> torch.Tensor:
    return torch.randn((2, 3, side, side), generator=torch.Generator().manual_seed(0))


def _look(net: nn.Module, score: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> tuple[Survey, int]:
    """The survey of a network, and its number of classes."""
    try:
        with torch.no_grad():
            count = score(images).shape[1]
        return survey(net, score, images), count
    except UserError:
        raise
    except Exception as error:  # the network is somebody's, and so are its errors
        side, reason = images.shape[-1], (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{type(net).__name__} does not take images (N, 3, {side}, {side}) ({type(error).__name__}: {reason}): "
            "give the size and normalisation that it was trained with as preprocessing=, or a function that calls it as "
            "forward="
        ) from error


def _chosen(method: str, found: Survey) -> tuple[str, str]:
    """The method, and why."""
    if method == IN_GRAPH:
        raise UserError("method is 'cam', but this classifier has no class maps of its own: expected another, or auto")
    if method != AUTO:
        return method, "asked for"
    if found.by_class_token and found.blocks:
        return "legrad", "the scores are those of a class token"
    return "layercam", f"what follows {found.last.name} is more than pooling and a linear layer"


def _layers(layers: Sequence[str], method: Method, found: Survey) -> tuple[str, ...]:
    if isinstance(layers, str):
        raise UserError(f"layers is {layers!r}, expected a list of names: [{layers!r}]")
    if layers:
        return tuple(layers)
    return (found.last.name,) if method.stages == 1 else tuple(found.stages(method.stages))


def _class_names(classes: Sequence[str], count: int) -> tuple[str, ...]:
    if not classes:
        return tuple(f"class {index}" for index in range(count))
    if len(classes) != count:
        raise UserError(f"{len(classes)} class names for a classifier of {count} classes: expected as many")
    return tuple(classes)
