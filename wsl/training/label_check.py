"""Checks of a data set's labels for classes that cannot be learnt or measured, made before training."""

from __future__ import annotations

import logging
from collections import Counter

from wsl.errors import UserError, listed
from wsl.samples import SampleSet

log = logging.getLogger("wsl")


def check_labels(samples: SampleSet, val: SampleSet | None, best_by: str = "mAP") -> None:
    """Warn of classes that are in no training image, in all training images, or in no validation image.

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
    always = [name for name in samples.classes if shown[name] == len(samples)]
    if always:
        log.warning("every training image shows %s: such a class cannot be told apart from the others", listed(always))
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
