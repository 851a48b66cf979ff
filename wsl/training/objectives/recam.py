"""ReCAM: a second classifier with softmax, on the features that a class map selects."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from heads import HeadOutput
from heads._checks import check_size
from wsl.errors import UserError
from wsl.training.objectives._objective import Objective, Pass, needed

_EPS = 1e-5


def selected_features(maps: Tensor, features: Tensor) -> Tensor:
    """The mean of the features weighted by each class map, which is rectified and divided by its maximum.

    Shape:
        ``maps`` (N, K, h, w) and ``features`` (N, C, h, w) to (N, K, C).

    >>> import torch
    >>> selected_features(torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[6.0, 100.0]]]])).round().tolist()
    [[[3.0]]]
    """
    positive = maps.relu()
    weights = positive / (positive.amax((2, 3), keepdim=True) + _EPS)
    return (weights.flatten(2) @ features.flatten(2).mT) / (maps.shape[2] * maps.shape[3])


class ReCAM(Objective):
    """Softmax cross-entropy of a second classifier for each class present, against all other classes.

    It reads the features that the map of the class selects (`selected_features`). As in the authors' code, the maps of
    the trained model are those of the product of both classifiers' weights (`heads.MapClassifier.reactivated`), for
    which `join` shares the second classifier's weights with the model; the scores remain those of the first classifier.
    If the head is more than one 1x1 convolution, the second classifier exists only in training, and the maps also
    remain those of the first.

    Source: Chen et al., Class Re-Activation Maps for Weakly-Supervised Semantic Segmentation, CVPR 2022, equation 4.

    >>> ReCAM(weight=0.5, classes=20, channels=512)
    recam(weight=0.5)
    """

    unspecified = frozenset({"classes", "channels"})
    reads_maps = True

    def __init__(
        self, weight: float = 1, classes: int | Literal["auto"] = "auto", channels: int | Literal["auto"] = "auto"
    ) -> None:
        super().__init__()
        if not isinstance(weight, int | float) or not 0 < weight < 1e6:
            raise UserError(f"weight is {weight}, expected a number above 0")
        self.weight = weight
        self.classes, self.channels = check_size(classes, "classes"), check_size(channels, "channels")
        self.classifier = nn.Linear(self.channels, self.classes, bias=False)

    def join(self, weight: nn.Parameter) -> None:
        """Use the weights (classes, channels) of a model's head for the second classifier."""
        self.classifier.weight = weight

    def total(self, output: HeadOutput, targets: Tensor, mask: Tensor, given: Pass | None) -> Tensor:
        """The sum over the present classes of all images."""
        given = needed(given, self)
        shares = targets * mask
        # Only the present classes, because the scores of all pairs would be (N, K, K).
        image, label = shares.nonzero(as_tuple=True)
        selected = selected_features(output.maps, given.features)[image, label]
        losses = F.cross_entropy(self.classifier(selected), label, reduction="none")
        return self.weight * (losses * shares[image, label]).sum()
