"""Any trained classifier as a model: its scores, and class maps by a CAM method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from heads import HeadOutput
from wsl.cam.explainer import Explainer, Inside
from wsl.cam.forward import Score
from wsl.cam.methods import AUTO, IN_GRAPH, Method, parse_method
from wsl.cam.survey import Survey
from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.models.any_network import Forward, Looked, frozen_copy, look, scorer, unwrapped
from wsl.models.backbone import Backbone
from wsl.models.cam_inference import InferenceCam
from wsl.models.fuse import fuse_activations, fuse_batch_norm
from wsl.models.gradient_head import GradientHead
from wsl.models.inference import cast_weights, linear_head
from wsl.models.layer_output import LayerOutput
from wsl.models.protocol import class_names, to_probabilities
from wsl.models.ready import ReadyCopies

if TYPE_CHECKING:
    from wsl.models.localizer import Localizer


class CamLocalizer(nn.Module):
    """A classifier that localizes by a CAM method, without training: scores are unchanged, maps are lazy.

    `net` is any module that gives scores of images; it becomes a submodule and is not changed. `method` is a spec
    string from `wsl.cam.list_methods`, such as ``layercam`` or ``scorecam(channels=64)``; "auto" is ``legrad`` if the
    scores come from a class token, else ``layercam``. `layers` are names from `net.named_modules`; by default the last
    layer that the scores depend on, and for methods of several layers those of the last stages. `output` selects the
    scores in the module's output if they are not found automatically; `forward` calls a module that takes more than
    images. `multi_label` says whether scores become probabilities by sigmoids or by one softmax. `name` is the name of
    the classifier, `reason` says why it has no class maps of its own, and `looked` is the survey of its layers. It
    has no `save`: keep the classifier's own file, which `Localizer.from_classifier` opens.

    Shape:
        (N, 3, H, W) normalised images to scores (N, K) and maps (N, K, h, w).

    Raises:
        UserError: the method or a layer is unknown, or the network does not take the images, has no spatial layers or
            scores, or lacks what the method reads.

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
        name: str = "",
        reason: str = "",
        looked: Looked | None = None,
    ) -> None:
        super().__init__()
        self.net: Any = unwrapped(net)
        self.name = name
        self.preprocessing = preprocessing or Preprocessing()
        self.multi_label = multi_label
        self._output, self._forward = output, forward
        self._ready: ReadyCopies[InferenceCam] = ReadyCopies()
        ours, score, images, found, count = looked or look(self.net, forward, output, self.preprocessing.image_size)
        self.classes = class_names(classes, count)
        self.method, self.why = _chosen(method, found, reason)
        try:
            self._set_up(ours, score, images[:1], layers, found)
        except UserError as error:
            if method != AUTO or self.method == "layercam":
                raise
            self.method, self.why = "layercam", f"{self.why}, but {error}"
            self._set_up(ours, score, images[:1], layers, found)
        backbone = self._features(ours)
        self.decodes = self.detects = False
        self.levels = 0 if backbone is None else len(backbone.taps)

    def __getattr__(self, name: str) -> torch.Tensor | nn.Module:
        if name in ("save", "push_to_hub"):
            raise AttributeError(
                f"a CamLocalizer has no {name}, because it adds nothing to its classifier: keep the classifier's name "
                "or its own file, and open it with wsl.Localizer.from_classifier"
            )
        return super().__getattr__(name)

    @classmethod
    def of(cls, localizer: Localizer, *, method: str, layers: Sequence[str] = ()) -> CamLocalizer:
        """A localizer with maps by a CAM method instead of its own, by default from its backbone's features.

        >>> from wsl.models import Localizer
        >>> CamLocalizer.of(Localizer("tinynet", 2, weights="none"), method="gradcam").layers
        ('backbone',)
        """
        return cls(
            localizer,
            method="layercam" if method == AUTO else method,
            layers=layers or ["backbone"],
            classes=localizer.classes,
            preprocessing=localizer.preprocessing,
            forward=_scores_of,
            multi_label=localizer.recipe.multi_label,
            name=localizer.recipe.backbone,
        )

    def by(self, method: str = AUTO, layers: Sequence[str] = ()) -> CamLocalizer:
        """The same classifier with maps by another method or from other layers."""
        return CamLocalizer(
            self.net,
            method=self.method if method == AUTO else method,
            layers=layers,
            classes=self.classes,
            preprocessing=self.preprocessing,
            output=self._output,
            forward=self._forward,
            multi_label=self.multi_label,
            name=self.name,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The layers, or the attention blocks, from which maps are made."""
        return tuple(self.inside.blocks) if self._method.by_attention else self.layers

    def forward(self, images: torch.Tensor) -> HeadOutput:
        """Scores and the maps of all classes, without gradients; `for_inference` gives those of a few classes."""
        ready = self.for_inference(images.device, torch.float32)
        output = ready(images)
        every = torch.arange(output.scores.shape[1], device=images.device).expand(output.scores.shape)
        return HeadOutput(output.scores, output.maps_of(every))

    def for_inference(self, device: torch.device, dtype: torch.dtype) -> InferenceCam:
        """A copy of the model prepared for inference on a device and in a precision; the model is not changed.

        The copy is cached until a weight changes, as for a `Localizer`.
        """
        return self._ready.get(self, device, dtype, lambda: self._make_ready(device, dtype))

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores as probabilities in double precision, (…, K) to (…, K)."""
        return to_probabilities(scores, multi_label=self.multi_label)

    def _set_up(self, net: nn.Module, score: Score, images: torch.Tensor, layers: Sequence[str], found: Survey) -> None:
        """Choose the layers of the method and try it, so that errors are raised now."""
        self._method: Method = parse_method(self.method)[1]
        self.layers = _layers(layers, self._method, found)
        self.inside = Inside(self.layers, found.blocks, found.prefix, found.by_class_token)
        Explainer(net, score, self._method, self.inside)(images)

    def _make_ready(self, device: torch.device, dtype: torch.dtype) -> InferenceCam:
        localizer = self.net if self._by_head else None
        net: Any = frozen_copy(self.net) if localizer is None else fuse_batch_norm(localizer).requires_grad_(False)
        if dtype != torch.float32:
            cast_weights(net, dtype)
        net.to(device=device, memory_format=torch.channels_last)
        if localizer is not None and device.type == "cpu":
            fuse_activations(net)
        return InferenceCam(
            net,
            scorer(net, self._forward, self._output),
            self._method,
            self.inside,
            self._features(net) if self.levels else None,
            device,
            dtype,
            multi_label=self.multi_label,
        )

    @property
    def _by_head(self) -> bool:
        """Whether only the head of a localizer is differentiated, so that its backbone may be fused."""
        return self._forward is _scores_of and self.layers == ("backbone",) and self._method.reads != "network"

    def _features(self, net: Any) -> Backbone | None:
        """The network as a backbone with intermediate features; None if it has none."""
        if self._forward is _scores_of:
            backbone: Backbone = net.backbone
            return backbone
        output = LayerOutput(net, self.layers[-1], self._forward, side=self.preprocessing.image_size)
        try:
            return Backbone(output, self.name)
        except UserError:  # several maps, or none
            return None


def made_by(model: object) -> str:
    """A short description of how a model's maps are made; empty for its own class maps.

    >>> head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> made_by(CamLocalizer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), head)))
    'by layercam of 1'
    """
    if not isinstance(model, CamLocalizer):
        return ""
    layers = model.sources
    shown = f"{layers[0]} to {layers[-1]}" if len(layers) > 3 else ", ".join(layers)
    return f"by {model.method} of {shown}"


def _scores_of(localizer: Localizer, images: torch.Tensor) -> torch.Tensor:
    """The scores alone, because the maps of some heads, and gradients through them, cost more than the network."""
    features, head = localizer.backbone(images), localizer.head
    if localizer.probe is not None:
        return localizer.probe(features)  # type: ignore[no-any-return]
    linear = linear_head(head)
    if linear is not None:
        return linear.scores(linear.prepare(features))
    scores: torch.Tensor = head.classifier(features) if isinstance(head, GradientHead) else head(features).scores
    return scores


def _chosen(method: str, found: Survey, reason: str) -> tuple[str, str]:
    """The method, and the reason for it."""
    if method == IN_GRAPH:
        raise UserError("method is 'cam', but this classifier has no class maps of its own: expected another, or auto")
    if method != AUTO:
        return method, "asked for"
    if found.by_class_token and found.blocks:
        return "legrad", "the scores come from a class token"
    return "layercam", reason or f"what follows {found.last.name} is more than pooling and a linear layer"


def _layers(layers: Sequence[str], method: Method, found: Survey) -> tuple[str, ...]:
    if isinstance(layers, str):
        raise UserError(f"layers is {layers!r}, expected a list of names: [{layers!r}]")
    others = [type(layer).__name__ for layer in layers if not isinstance(layer, str)]
    if others:
        raise UserError(f"layers holds a {others[0]}, expected names from named_modules, such as {found.last.name!r}")
    if layers:
        return tuple(layers)
    return (found.last.name,) if method.stages == 1 else tuple(found.stages(method.stages))
