"""Precision and recall of each class, and the classes that a classifier confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from wsl.samples import Sample

THRESHOLD = 0.5
# Limits: confusions listed, wrong classes counted for an image, and pairs counted at a time.
MOST_LISTED, _MOST_WRONG, _MOST_PAIRS = 1000, 20, 1_000_000


class ClassReport:
    """Counts of the classes predicted in images that show them, and in images that do not.

    A class is predicted if its probability is 0.5 or more; a softmax classifier (``multi_label`` False) predicts the
    class with the highest probability. Unknown classes of an image are ignored. A class that is predicted but absent
    counts as confused with each class present; at most the 20 most probable such classes of an image are counted.
    Memory is bounded: when there are more than a million pairs, the rarer half is dropped.

    >>> report = ClassReport(["cat", "dog"])
    >>> for scores, label in (({"cat": 0.9, "dog": 0.6}, "cat"), ({"cat": 0.2, "dog": 0.4}, "dog")):
    ...     report.update(scores, Sample(path="a.jpg", labels=[label]))
    >>> report.figures("cat"), report.figures("dog")
    ({'predicted': 1, 'precision': 1.0, 'recall': 1.0}, {'predicted': 1, 'precision': 0.0, 'recall': 0.0})
    >>> report.confusions()
    [{'predicted': 'dog', 'present': 'cat', 'images': 1, 'of': 1}]
    """

    def __init__(self, classes: Sequence[str], *, multi_label: bool = True) -> None:
        self.classes, self.multi_label = tuple(classes), multi_label
        self._predicted: Counter[str] = Counter()
        self._right: Counter[str] = Counter()
        self._present: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()

    @property
    def rule(self) -> str:
        """The criterion for predicting a class, as text."""
        return f"probability of {THRESHOLD:g} or more" if self.multi_label else "the highest probability"

    def update(self, scores: Mapping[str, float], sample: Sample) -> None:
        """Count one image, given the probabilities of its classes."""
        present, unknown = set(sample.labels), set(sample.unknown(self.classes))
        self._present.update(present)
        if self.multi_label:
            predicted = [label for label, score in scores.items() if score >= THRESHOLD]
        else:
            predicted = [max(scores, key=lambda label: scores[label])] if scores else []
        known = [label for label in predicted if label not in unknown]
        self._predicted.update(known)
        self._right.update(label for label in known if label in present)
        wrong = sorted((label for label in known if label not in present), key=lambda label: -scores[label])
        self._pairs.update((label, other) for label in wrong[:_MOST_WRONG] for other in present)
        self._forget()

    def merge(self, other: ClassReport) -> None:
        """Add the counts that another process made on other images."""
        for own, counts in zip(self._counters(), other._counters(), strict=True):
            own.update(counts)
        self._forget()

    def figures(self, label: str) -> dict[str, Any]:
        """``predicted`` (images), ``precision`` and ``recall`` of a class; None where undefined."""
        right, predicted, present = self._right[label], self._predicted[label], self._present[label]
        return {
            "predicted": predicted,
            "precision": right / predicted if predicted else None,
            "recall": right / present if present else None,
        }

    def confusions(self) -> list[dict[str, Any]]:
        """The most frequent pairs: ``predicted`` and ``present`` class, ``images``, ``of`` how many of the latter."""
        return [
            {"predicted": predicted, "present": present, "images": count, "of": self._present[present]}
            for (predicted, present), count in self._most_frequent(MOST_LISTED)
        ]

    def _counters(self) -> tuple[Counter[Any], ...]:
        return self._predicted, self._right, self._present, self._pairs

    def _forget(self) -> None:
        if len(self._pairs) > _MOST_PAIRS:
            self._pairs = Counter(dict(self._most_frequent(_MOST_PAIRS // 2)))

    def _most_frequent(self, count: int) -> list[tuple[tuple[str, str], int]]:
        """The `count` most frequent pairs with their number of images; ties are sorted by name."""
        return sorted(self._pairs.items(), key=lambda item: (-item[1], item[0]))[:count]
