"""Checks of a data set's labels for classes that cannot be learnt or measured, made before training."""

from __future__ import annotations

import logging
from collections import Counter

from wsl.errors import UserError, listed
from wsl.samples import SampleSet

log = logging.getLogger("wsl")


def check_labels(samples: SampleSet, val: SampleSet | None, best_by: str = "mAP") -> None:
    """Warn of classes that are in no training image, that all may contain, or that are in no validation image.

    Raises:
        UserError: no training image shows a class, or validation cannot measure ``best_by``.

    >>> from wsl.samples import Sample
    >>> check_labels(SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", ignored=["dog"])]), None)
    Traceback (most recent call last):
    wsl.errors.UserError: none of 1 training images shows a class (1 have ignored labels): expected images of the ...
    """
    shown = Counter(label for sample in samples.samples for label in sample.labels)
    if not shown and len(samples):
        ignored = sum(bool(sample.ignored) for sample in samples.samples)
        raise UserError(
            f"none of {len(samples)} training images shows a class ({ignored} have ignored labels): expected "
            "images of the classes to be learnt"
        )
    never = [name for name in samples.classes if name not in shown]
    if never:
        log.warning("no training image shows %s: nothing is learnt about such a class", listed(never))
    without = _count_without(samples)
    always = [name for name in samples.classes if shown[name] and not without[name]]
    if always:
        log.warning(
            "no training image is known to be without %s: such a class cannot be told apart from the others",
            listed(always),
        )
    if val is not None:
        measured = {label for sample in val.samples for label in sample.labels}
        unmeasured = [name for name in samples.classes if name not in measured]
        if not measured:
            log.warning("no validation image shows a class: the mAP is undefined")
        elif unmeasured:
            log.warning("no validation image shows %s: the mAP is the mean over the others", listed(unmeasured))
        if best_by == "pointing" and not any(sample.boxes and sample.size for sample in val.samples):
            raise UserError(
                "--best-by pointing needs annotated boxes, and no validation image has any: expected --best-by mAP"
            )


def _count_without(samples: SampleSet) -> Counter[str]:
    """The number of images that are known to be without each class.

    >>> from wsl.samples import Sample
    >>> images = [Sample(path="a.jpg", labels=["cat"]), Sample(path="b.jpg", negatives=["cow"])]
    >>> sorted(_count_without(SampleSet(classes=["cat", "cow"], samples=images)).items())
    [('cat', 0), ('cow', 2)]
    """
    listing = [sample for sample in samples.samples if sample.negatives is not None]
    without = Counter(dict.fromkeys(samples.classes, len(samples) - len(listing)))
    without.update(name for sample in listing for name in sample.negatives or ())
    without.subtract(
        name for sample in samples.samples if sample.negatives is None for name in {*sample.labels, *sample.ignored}
    )
    return without
