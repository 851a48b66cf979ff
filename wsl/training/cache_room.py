"""How many images' features fit into the room that is given for them."""

from __future__ import annotations

import logging
import math

import numpy as np

from wsl.models import Localizer
from wsl.samples import SampleSet

log = logging.getLogger("wsl")


def affordable(model: Localizer, gigabytes: float) -> int:
    """Of how many images the features that a map decoder reads, also of the mirror image, fit into so much room.

    >>> affordable(Localizer("tinynet", 2, weights="none"), 1)
    996
    """
    side = model.preprocessing.image_size
    numbers = sum(math.prod(shape) for shape in model.backbone.level_shapes((side, side)))
    return max(1, int(gigabytes * 1e9 / (2 * numbers * np.dtype(np.float16).itemsize)))


def affordable_part(
    samples: SampleSet, model: Localizer, gigabytes: float, part: str, given: float, seed: int
) -> SampleSet:
    """So many images, chosen at random, that their features fit.

    A warning says so, naming the ``part`` of the model that is trained, and what was ``given`` as room for it, of which
    `gigabytes` are for these images.

    >>> few = SampleSet(classes=[], samples=[])
    >>> affordable_part(few, Localizer("tinynet", 2, weights="none"), 1, "decoder", 1, 0) is few
    True
    """
    most = affordable(model, gigabytes)
    if most >= len(samples):
        return samples
    chosen = np.sort(np.random.default_rng(seed).permutation(len(samples))[:most])
    log.warning(
        "the %s is trained on %d of %d images, since the features of no more fit into --%s-cache %g (gigabytes)",
        part,
        most,
        len(samples),
        part,
        given,
    )
    return SampleSet(classes=samples.classes, samples=tuple(samples.samples[row] for row in chosen))
