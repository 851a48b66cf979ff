"""What the labels of a data set cannot teach, or measure, told before anything is computed."""

from __future__ import annotations

import logging
from collections import Counter

from wsl.errors import UserError, listed
from wsl.samples import SampleSet

log = logging.getLogger("wsl")


def check_labels(samples: SampleSet, val: SampleSet | None) -> None:
    """Warn of classes that no image shows or every image shows, to train and to validate on.

    Raises:
        UserError: no training image shows any class.

    >>> from wsl.samples import Sample
    >>> check_labels(SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", ignored=["dog"])]), None)
    Traceback (most recent call last):
    wsl.errors.UserError: none of 1 training images shows a class (1 have labels that do not count): expected images ...
    """
    shown = Counter(label for sample in samples.samples for label in sample.labels)
    if not shown and len(samples):
        ignored = sum(bool(sample.ignored) for sample in samples.samples)
        raise UserError(
            f"none of {len(samples)} training images shows a class ({ignored} have labels that do not count): expected "
            "images of the classes that are to be found"
        )
    never = [name for name in samples.classes if name not in shown]
    if never:
        log.warning("no training image shows %s: nothing is learnt of such a class", listed(never))
    always = [name for name in samples.classes if shown[name] == len(samples)]
    if always:
        log.warning("every training image shows %s: nothing tells such a class from others", listed(always))
    if val is not None:
        measured = {label for sample in val.samples for label in sample.labels}
        unmeasured = [name for name in samples.classes if name not in measured]
        if unmeasured:
            log.warning("no validation image shows %s: the mAP is the mean over the others", listed(unmeasured))
