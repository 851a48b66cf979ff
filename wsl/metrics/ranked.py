"""One ranking a class over all images: what classification, detection AP and localization by point have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.metrics.bootstrap import Doubles, image_key, poisson_weights
from wsl.metrics.protocol import StreamingMetric
from wsl.metrics.ranking import Method, ranking_ap, require_method
from wsl.metrics.resampling import affordable, resampled_ap
from wsl.results import Metric
from wsl.samples import Sample

_Prediction = tuple[str, npt.ArrayLike, npt.ArrayLike]
"""A class, and the scores and outcomes of what was found of it."""

_Ranking = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64]]


class AveragePrecision(StreamingMetric):
    """A mean over classes of the average precision of rankings, which several rules can read.

    A subclass measures with `_measured`.

    >>> from wsl.metrics import ClassificationAP
    >>> metric = ClassificationAP(["dog"])
    >>> metric.compute().name, metric.by("11-point").name
    ('mAP', 'mAP (11-point)')
    """

    def __init__(
        self, classes: Sequence[str], method: Method = "all-point", report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        require_method(method)
        super().__init__(classes, report_classes, **settings)
        self.method: Method = method

    def compute(self) -> Metric:
        """The mean AP over the classes that have something to find; no value when nothing was found in any image."""
        return self._measured(self.method)

    def by(self, method: Method) -> Metric:
        """What `compute` would give with another rule.

        Raises:
            UserError: no such rule.
        """
        require_method(method)
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            return self._measured(method)

    def _measured(self, method: Method) -> Metric:
        raise NotImplementedError(f"{type(self).__name__} has no measure")


class RankingMetric(AveragePrecision):
    """Mean over classes of the AP of predictions judged, image by image, right (1), wrong (0) or neither (-1).

    A subclass says with `_record` what is to be found in an image and what was found: by the method ("found"), by
    the baseline ("centre") and by the whole image ("whole", where that applies). It reports with `_ap`. Keeps 17
    bytes a prediction of each, and 20 bytes for each class with something to find in an image.
    """

    positives: torch.Tensor

    def __init__(
        self, classes: Sequence[str], method: Method = "all-point", report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        super().__init__(classes, method, report_classes, **settings)
        self._add_counter("positives", len(self._mean.classes))
        for ranking in ("found", "centre", "whole", "expected"):
            self._add_rows(f"{ranking}_keys", dtype=torch.int64)
            self._add_rows(f"{ranking}_labels", dtype=torch.int32)
        for ranking in ("found", "centre", "whole"):
            self._add_rows(f"{ranking}_scores", dtype=torch.float32)
            self._add_rows(f"{ranking}_outcomes", dtype=torch.int8)
        self._add_rows("expected_numbers", dtype=torch.int64)

    def _record(self, sample: Sample, expected: Mapping[str, int], **rankings: Sequence[_Prediction]) -> None:
        """One image: how many of each class are to be found, and what was found, by ranking."""
        key = image_key(sample.path)
        wanted = {self._index[label]: number for label, number in expected.items() if number}
        for row, number in wanted.items():
            self.positives[row] += number
        self._append("expected_keys", np.full(len(wanted), key))
        self._append("expected_labels", list(wanted))
        self._append("expected_numbers", list(wanted.values()))
        for ranking, predictions in rankings.items():
            if not predictions:
                continue
            labels, scores, outcomes = zip(*predictions, strict=True)
            sizes = [np.size(score) for score in scores]
            self._append(f"{ranking}_keys", np.full(sum(sizes), key))
            self._append(f"{ranking}_labels", np.repeat([self._index[label] for label in labels], sizes))
            self._append(f"{ranking}_scores", np.concatenate([np.atleast_1d(score) for score in scores]))
            self._append(f"{ranking}_outcomes", np.concatenate([np.atleast_1d(outcome) for outcome in outcomes]))

    def _ap(self, name: str, note: str, method: Method) -> Metric:
        """The mean AP over classes with something to find; no value when nothing was found in any image."""
        if not len(self._rows("found_labels")):
            return self._mean.metric(name, {}, {})
        positives = zip(self._mean.classes, self.positives.tolist(), strict=True)
        counts = {label: number for label, number in positives if number}
        found, centre, whole = (self._judged(ranking, counts) for ranking in ("found", "centre", "whole"))

        def ap(ranking: Mapping[str, _Ranking]) -> dict[str, float]:
            return {label: ranking_ap(*ranking[label][:2], counts[label], method) for label in counts}

        return self._mean.metric(
            name,
            ap(found),
            counts,
            baseline=ap(centre),
            whole_image=ap(whole) if len(self._rows("whole_labels")) else None,
            note=note,
            resampled=self._resampled(found, method) if self.replicates else None,
        )

    def _judged(self, ranking: str, classes: Iterable[str]) -> dict[str, _Ranking]:
        """By class: score, whether it is right, and its image's key of each prediction that is right or wrong."""
        names = ("labels", "scores", "outcomes", "keys")
        labels, scores, outcomes, keys = (self._rows(f"{ranking}_{name}") for name in names)
        by_class = {}
        for label in classes:
            mine = (labels == self._index[label]) & (outcomes >= 0)
            by_class[label] = scores[mine], outcomes[mine] == 1, keys[mine]
        return by_class

    def _resampled(self, found: Mapping[str, _Ranking], method: Method) -> dict[str, Doubles]:
        expected = [self._rows(f"expected_{name}") for name in ("keys", "labels", "numbers")]
        keys = np.unique(np.concatenate([expected[0], *(ranking[2] for ranking in found.values())]))
        entries = sum(len(ranking[0]) for ranking in found.values())
        weights = poisson_weights(keys.tolist(), affordable(entries, self.replicates)).astype(np.float32)
        drawn = {}
        for label, (scores, right, of) in found.items():
            mine = expected[1] == self._index[label]
            positives = np.zeros(len(keys), np.int64)
            np.add.at(positives, np.searchsorted(keys, expected[0][mine]), expected[2][mine])
            drawn[label] = resampled_ap(scores, right, np.searchsorted(keys, of), positives, weights, method)
        return drawn
