"""The number of images whose features fit into a given amount of space."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from wsl.models import Localizer
from wsl.samples import SampleSet

log = logging.getLogger("wsl")


def affordable(model: Localizer, gigabytes: float, views: int) -> int:
    """The number of images whose features for a map decoder, in each of their `views`, fit into `gigabytes`.

    >>> affordable(Localizer("tinynet", 2, weights="none"), 1, views=2)
    996
    """
    return max(1, int(gigabytes * 1e9 / (views * image_bytes(model, model.preprocessing.image_size))))


def image_bytes(model: Localizer, side: int, layers: Sequence[str] | None = None) -> int:
    """The size of the cached features of one view of an image: of some layers, by default those of a map decoder."""
    shapes = model.backbone.level_shapes((side, side), layers)
    return sum(map(math.prod, shapes)) * np.dtype(np.float16).itemsize


def affordable_part(
    samples: SampleSet, model: Localizer, gigabytes: float, part: str, given: float, seed: int, *, views: int
) -> SampleSet:
    """The samples whose features fit into `gigabytes`, chosen at random; all of them if they fit.

    If images are left out, a warning names the `part` of the model to be trained and its whole budget, `given`, of
    which `gigabytes` are available to these images.

    >>> few = SampleSet(classes=[], samples=[])
    >>> affordable_part(few, Localizer("tinynet", 2, weights="none"), 1, "decoder", 1, 0, views=2) is few
    True
    """
    most = affordable(model, gigabytes, views)
    if most >= len(samples):
        return samples
    chosen = np.sort(np.random.default_rng(seed).permutation(len(samples))[:most])
    log.warning(
        "the %s is trained on %d of %d images: the features of more do not fit into --%s-cache %g (gigabytes)",
        part,
        most,
        len(samples),
        part,
        given,
    )
    return SampleSet(classes=samples.classes, samples=tuple(samples.samples[row] for row in chosen))
