"""Loss weights and sampling probabilities that give rare classes the same influence as frequent ones."""

from __future__ import annotations

import numpy as np
import torch

from wsl.data import stacked_targets
from wsl.samples import SampleSet
from wsl.training.order import Doubles


def balanced_weights(samples: SampleSet) -> torch.Tensor:
    """The loss weights of absent and present pairs, which give both the same total weight in every class.

    If a class is known in n images and present in p of them, present pairs have the weight ``n / 2p`` and absent pairs
    ``n / 2(n - p)``, as if half of the images showed the class. A class that is present in no image, or in all, keeps
    the weight 1.

    Shape:
        (2, K): absent, present.

    >>> from wsl.samples import Sample
    >>> some = [Sample(path=f"{i}.jpg", labels=["dog"] if i == 0 else []) for i in range(4)]
    >>> balanced_weights(SampleSet(classes=["dog"], samples=some)).flatten().tolist()
    [0.666..., 2.0]
    """
    values, known = stacked_targets(samples)
    n, p = known.sum(0), (values * known).sum(0)
    varied = (p > 0) & (p < n)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(varied, np.stack([n / (2 * (n - p)), n / (2 * p)]), 1)
    return torch.from_numpy(weights.astype(np.float32))


def balanced_chances(samples: SampleSet) -> Doubles:
    """The sampling probability of each image, proportional to the mean of ``1 / images`` over its classes.

    Classes are then drawn about equally often. Images without labels count as one further class.

    Shape:
        (N,), with sum 1.

    >>> from wsl.samples import Sample
    >>> some = [Sample(path=f"{i}.jpg", labels=["dog"] if i == 0 else ["cat"]) for i in range(3)]
    >>> balanced_chances(SampleSet(classes=["cat", "dog"], samples=some)).tolist()
    [0.5, 0.25, 0.25]
    """
    values, _ = stacked_targets(samples)
    shown = np.column_stack([values, values.sum(1) == 0]).astype(np.float64)
    images = shown.sum(0)
    rare = np.divide(1, images, out=np.zeros_like(images), where=images > 0)
    chances = (shown * rare).sum(1) / shown.sum(1)
    result: Doubles = chances / chances.sum()
    return result
