"""Any trained classifier as a model: with its own class maps if it has them, else with those of a CAM method."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from heads import MapClassifier
from wsl.cam.methods import AUTO, IN_GRAPH, parse_method
from wsl.checkpoints import holds_tensors_alone
from wsl.config import Preprocessing
from wsl.errors import UserError, quoted
from wsl.models.any_network import Forward, Looked, look, own_copy, unwrapped
from wsl.models.architecture import find_architecture
from wsl.models.backbone import Backbone, cut_backbone
from wsl.models.cam_localizer import CamLocalizer
from wsl.models.classifier_heads import NormedMapClassifier
from wsl.models.classifiers import create_classifier
from wsl.models.graph import Chain, ConvClassifier, conv_classifier, find_chain
from wsl.models.known_classes import known_classes
from wsl.models.layer_output import LayerOutput
from wsl.models.linear_form import LinearForm, find_linear_form
from wsl.models.localizer import Localizer
from wsl.models.timm_models import TIMM

log = logging.getLogger("wsl")


def from_classifier(
    classifier: str | Path | nn.Module,
    weights: str | Path | None = "DEFAULT",
    *,
    method: str = AUTO,
    layers: Sequence[str] = (),
    output_stride: int | None = None,
    classes: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    output: str | int | None = None,
    forward: Forward | None = None,
) -> Localizer | CamLocalizer:
    """See `Localizer.from_classifier`."""
    if method not in (AUTO, IN_GRAPH):
        parse_method(method)  # report a misspelt name before anything is built
    given = _given(classifier, weights, classes, preprocessing, output, forward)
    reason = f"layers are named ({', '.join(map(str, layers))})" if layers else ""
    exact: Localizer | None = None
    if not layers:
        try:
            exact = _exact(given, output_stride)
        except UserError as error:
            if method == IN_GRAPH or output_stride is not None:
                raise
            reason = str(error)
    if method == IN_GRAPH and exact is None:
        raise UserError(f"{given.shown} has no class maps of its own to name layers of: leave layers or method out")
    if exact is not None and method in (AUTO, IN_GRAPH):
        return exact
    if exact is not None:
        return CamLocalizer.of(exact, method=method)
    return CamLocalizer(
        given.net,
        method=method,
        layers=layers,
        classes=given.classes,
        preprocessing=given.preprocessing,
        output=output,
        forward=given.forward,
        multi_label=given.multi_label,
        name=given.name,
        reason=reason,
        looked=given.looked,
    )


@dataclass(frozen=True)
class _Given:
    """A copy of a classifier, and what is known about it."""

    net: nn.Module
    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    output: str | int | None
    forward: Forward | None
    multi_label: bool = False

    @property
    def shown(self) -> str:
        return self.name or type(self.net).__name__

    @functools.cached_property
    def looked(self) -> Looked:
        """The survey of its layers."""
        return look(self.net, self.forward, self.output, self.preprocessing.image_size)


def _given(
    classifier: str | Path | nn.Module,
    weights: str | Path | None,
    classes: Sequence[str],
    preprocessing: Preprocessing | None,
    output: str | int | None,
    forward: Forward | None,
) -> _Given:
    if isinstance(classifier, (str, Path)):
        if weights == "DEFAULT" and holds_tensors_alone(classifier):
            classifier, weights = _recognised(Path(classifier)), classifier
        built = create_classifier(str(classifier), str(weights or "none"))
        known = tuple(classes) or built.classes
        return _Given(
            built.net,
            built.name,
            known,
            preprocessing or built.preprocessing,
            output,
            forward or built.forward,
            built.multi_label,
        )
    if not isinstance(classifier, nn.Module):
        raise UserError(
            f"classifier is a {type(classifier).__name__}, expected a name such as resnet50, the file of its weights, "
            "or a module"
        )
    # A copy, so that the caller's module is not changed by dilation or training.
    net = own_copy(unwrapped(classifier))
    known = tuple(classes) or (known_classes(net) if output is None and forward is None else ())
    return _Given(net, "", known, preprocessing or Preprocessing(), output, forward)


def _recognised(path: Path) -> str:
    """The name of the classifier whose tensors a file holds.

    Raises:
        UserError: none is known.
    """
    name = find_architecture(path)
    if name is None:
        raise UserError(
            f"{path} holds the tensors of a network that is not recognised: give its name, --weights NAME "
            f"--local-weights {quoted(path)}, or the code that builds it, --weights {quoted(path)} --model "
            "package.module:build"
        )
    log.info("%s has the tensors of %s: as --weights %s --local-weights %s", path, name, name, quoted(path))
    return name


def _exact(given: _Given, output_stride: int | None) -> Localizer:
    """The classifier as a localizer with its own class maps.

    Raises:
        UserError: its scores are not the mean of class maps; the message says what was found.
    """
    plain = given.output is None and given.forward is None
    if output_stride is not None and not plain:
        raise UserError(f"output stride {output_stride} of {given.shown}: it runs as a whole, and its own stays")
    cut = plain and (output_stride is not None or not given.name.startswith(TIMM))
    reason = ""
    if cut:
        try:
            return _by_cutting(given, output_stride)
        except (UserError, RuntimeError) as error:  # raised by the network for images that it does not take
            if output_stride is not None:
                raise
            reason = str(error)
    form = find_linear_form(*given.looked[:4])
    if form is None:
        raise UserError(reason or f"what follows the last map of {given.shown} is more than pooling and a linear layer")
    return _by_form(given, form)


def _by_cutting(given: _Given, output_stride: int | None) -> Localizer:
    """A network that torch.fx can trace, cut where it pools."""
    net, shown = given.net, given.shown
    chain = find_chain(net, shown)
    last = _classifying_layer(chain, shown)
    features = last.features if isinstance(last, ConvClassifier) else chain.features
    layer = last.conv if isinstance(last, ConvClassifier) else last
    # Loading a timm network by name would not cut it, so a cut one cannot be saved by name.
    body = cut_backbone(net, features, "" if given.name.startswith(TIMM) else given.name, output_stride)
    if body.out_channels != layer.weight.shape[1]:
        raise UserError(
            f"{shown}'s last layer takes {layer.weight.shape[1]} features of a map with {body.out_channels} "
            "channels: expected global average pooling and a linear layer on the channels"
        )
    bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
    model = Localizer(
        body,
        len(layer.weight),
        classes=given.classes,
        preprocessing=given.preprocessing,
        output_stride=output_stride,
        multi_label=False,
    )
    if isinstance(last, ConvClassifier) and last.rectified:
        model.rectify()
    _fill(model, layer.weight, bias)
    return model.train(net.training)


def _by_form(given: _Given, form: LinearForm) -> Localizer:
    """A network that runs as a whole, with the output of one layer read."""
    side = given.preprocessing.image_size
    body = Backbone(LayerOutput(given.net, form.layer, given.forward, side=side), given.name)
    model = Localizer(
        body,
        len(form.weight),
        classes=given.classes,
        preprocessing=given.preprocessing,
        multi_label=given.multi_label,
    )
    model.read_layer(form.layer, None if form.norm is None else form.norm.eps)
    _fill(model, form.weight, form.bias)
    if form.norm is not None and isinstance(model.head, NormedMapClassifier):
        with torch.no_grad():
            model.head.norm.weight.copy_(form.norm.weight)
            model.head.norm.bias.copy_(form.norm.bias)
    return model.train(given.net.training)


def _fill(model: Localizer, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Copy the classifier's linear layer to the head's 1x1 convolution."""
    assert isinstance(model.head, MapClassifier)
    assert model.head.conv.bias is not None
    with torch.no_grad():
        model.head.conv.weight.copy_(weight.reshape(len(weight), -1, 1, 1))
        model.head.conv.bias.copy_(bias)


def _classifying_layer(chain: Chain, name: str) -> nn.Linear | ConvClassifier:
    after = chain.significant()
    if chain.pools_globally:
        if len(after) == 1:
            layer = chain.module(after[0])
            if isinstance(layer, nn.Linear):
                return layer
        by_convolution = None if after else conv_classifier(chain)
        if by_convolution is not None:
            return by_convolution
    raise UserError(f"{name} does not have the form global average pooling -> linear; found {chain.describe()}")
