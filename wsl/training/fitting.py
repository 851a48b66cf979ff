"""Fits to the cached features of a frozen backbone: a head with class maps, and a linear probe."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from heads import MapClassifier
from wsl.cam.methods import IN_GRAPH
from wsl.config import ModelConfig, ProbeConfig
from wsl.errors import UserError, listed
from wsl.models import Localizer, load
from wsl.models.checkpoint import run_file
from wsl.models.classifiers import TINY
from wsl.models.inference import linear_head
from wsl.models.padding import pad_as_tensorflow
from wsl.progress import Advance
from wsl.training.objectives import binary_cross_entropy
from wsl.training.probe import LogisticFit, fit_logistic
from wsl.training.sources import FeatureSource

log = logging.getLogger("wsl")

# Largest difference of features that count as equal, relative to their maximum.
_TOLERANCE = 1e-3


def check_head(head: nn.Module) -> MapClassifier:
    """Return the head if `fit_head` can fit it.

    Raises:
        UserError: the scores are not linear in the mean features.

    >>> check_head(MapClassifier(8, 2, pooling="gmp"))
    Traceback (most recent call last):
    wsl.errors.UserError: --optimizer lbfgs fits scores that are linear in the mean features: expected a head of one ...
    """
    if not (isinstance(head, MapClassifier) and linear_head(head) is not None and head.classwise.maps_per_class == 1):
        raise UserError(
            "--optimizer lbfgs fits scores that are linear in the mean features: expected a head of one convolution "
            "and --pooling gap"
        )
    return head


def fit_head(
    head: nn.Module, classes: Sequence[str], source: FeatureSource, penalty: float, advance: Advance
) -> tuple[float, int]:
    """Fit a head with global average pooling, whose scores are linear in the mean features.

    Returns the mean loss over all (image, class) pairs, and the number of images including mirror images.

    Raises:
        UserError: the head's scores are not linear in the mean features.
    """
    conv = check_head(head).conv
    features, targets, known = source.pooled(lambda maps: maps.mean((2, 3)), advance)
    fit = _fit(features, targets, known, penalty, classes, "lbfgs")
    assert conv.bias is not None
    with torch.no_grad():
        conv.weight.copy_(fit.weight[..., None, None])
        conv.bias.copy_(fit.bias)
    scores = features @ fit.weight.T + fit.bias
    return float(binary_cross_entropy(scores, targets.to(scores.device), known.to(scores.device))), len(features)


def fit_probe(
    model: Localizer, source: FeatureSource, settings: ProbeConfig, classifier: nn.Linear | None, advance: Advance
) -> None:
    """Add a probe to the model, fitted to the features of the training images.

    `classifier` is the linear layer whose posteriors the probe reads in addition to the pooled features, see
    `own_classifier`.
    """
    probe = model.add_probe(0 if classifier is None else classifier.out_features)
    if classifier is not None and probe.classifier is not None:
        probe.classifier.load_state_dict(classifier.state_dict())
    features, targets, known = source.pooled(probe.inputs, advance)
    fit = _fit(features, targets, known, settings.probe_penalty, model.classes, "probe")
    with torch.no_grad():
        probe.linear.weight.copy_(fit.weight)
        probe.linear.bias.copy_(fit.bias)
    probe.eval()


def own_classifier(model: Localizer, settings: ModelConfig) -> nn.Linear | None:
    """The linear layer of the pretrained classifier that the backbone's weights belong to; None if there is none.

    If the weights are those of a run, it is the one that the run's probe reads. The layer is used only if its backbone
    gives the same features of an image as the model's; otherwise the log says why it is not. The weights are those that
    the backbone was created with, so nothing more is downloaded.

    >>> model = Localizer("tinynet", 2, weights="none")
    >>> own_classifier(model, ModelConfig(backbone="tinynet", weights="none")) is None
    True
    """
    try:
        found = _classifier(model, settings)
    except UserError as error:
        log.info("probe: reads pooled features, without posteriors (%s)", error)
        return None
    log.info("probe: reads pooled features and %d posteriors of the backbone's classifier", found.out_features)
    return found


def _classifier(model: Localizer, settings: ModelConfig) -> nn.Linear:
    """The layer.

    Raises:
        UserError: there is none.
    """
    source = run_file(settings.weights)
    backbone, layer = _of_library(settings) if source is None else _of_run(source)
    side = model.preprocessing.image_size
    image = torch.randn((1, 3, side, side), generator=torch.Generator().manual_seed(0))
    # On the CPU, because GPUs round convolutions to TF32, by more than the tolerance in a deep network.
    own = copy.deepcopy(model.backbone).cpu().eval()
    with torch.no_grad():
        expected, given = own(image), backbone(image)
    if given.shape != expected.shape or (given - expected).abs().max() > _TOLERANCE * expected.abs().max():
        raise UserError(f"the features of the classifier {settings.backbone} differ")
    return layer


def _of_run(source: Path) -> tuple[nn.Module, nn.Linear]:
    """The backbone of a run, and the classifier that its probe reads.

    Raises:
        UserError: it has no such probe.
    """
    before = load(source)
    if before.probe is None or before.probe.classifier is None:
        raise UserError(f"the weights are those of {source}, which has no probe with posteriors")
    return before.backbone, before.probe.classifier


def _of_library(settings: ModelConfig) -> tuple[nn.Module, nn.Linear]:
    """The backbone and the last layer of a pretrained classifier.

    Raises:
        UserError: there is none, or it has more than a linear layer after its pooling.
    """
    if settings.weights == "none" or settings.backbone == TINY:
        raise UserError("the backbone has no pretrained weights")
    whole = Localizer.from_classifier(
        settings.backbone, settings.weights, method=IN_GRAPH, output_stride=settings.output_stride
    )
    whole.eval()
    head = linear_head(whole.head) if isinstance(whole, Localizer) else None
    if not isinstance(whole, Localizer) or type(whole.head) is not MapClassifier or head is None:
        raise UserError(f"what follows {settings.backbone}'s pooling is more than a linear layer")
    layer = nn.Linear(head.weight.shape[1], len(head.weight))
    layer.load_state_dict({"weight": head.weight, "bias": head.bias})
    return pad_as_tensorflow(whole.backbone) if settings.padding == "tensorflow" else whole.backbone, layer


def _fit(
    features: torch.Tensor,
    targets: torch.Tensor,
    known: torch.Tensor,
    penalty: float,
    classes: Sequence[str],
    who: str,
) -> LogisticFit:
    """Fit the known targets, and warn of classes that could not be fitted."""
    fit = fit_logistic(features, targets, known > 0, penalty=penalty)
    constant = [name for name, fitted in zip(classes, fit.fitted.tolist(), strict=True) if not fitted]
    if constant:
        log.warning(
            "%s: the known labels of %s are the same in all training images: the score of such a class is the same for "
            "every image",
            who,
            listed(constant),
        )
    return fit
