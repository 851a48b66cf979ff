"""Findings of all images in one ranking a class: what detection AP and localization by point have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

_Ranking = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int64]]


class RankingMetric(StreamingMetric):
    """Mean over classes of the AP of findings that were judged, image by image, right (1), wrong (0) or neither (-1).

    A subclass says what is to be found with `_expect` and what was found with `_judge`: by the method ("found"), by
    the baseline ("centre") and by the whole image ("whole", where that applies). It reports with `_ap`. Keeps 17
    bytes a finding of each, and 20 bytes for each class with something to find in an image.
    """

    positives: torch.Tensor

    def __init__(
        self, classes: Sequence[str], method: Method = "all-point", report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        require_method(method)
        super().__init__(classes, report_classes, **settings)
        self.method: Method = method
        self._add_counter("positives", len(self._mean.classes))
        for ranking in ("found", "centre", "whole", "expected"):
            self._add_rows(f"{ranking}_keys", dtype=torch.int64)
            self._add_rows(f"{ranking}_labels", dtype=torch.int32)
        for ranking in ("found", "centre", "whole"):
            self._add_rows(f"{ranking}_scores", dtype=torch.float32)
            self._add_rows(f"{ranking}_outcomes", dtype=torch.int8)
        self._add_rows("expected_numbers", dtype=torch.int64)

    def _expect(self, sample: Sample, label: str, positives: int) -> None:
        """So many of a class are to be found in an image."""
        if positives:
            self.positives[self._index[label]] += positives
            self._append("expected_keys", [image_key(sample.path)])
            self._append("expected_labels", [self._index[label]])
            self._append("expected_numbers", [positives])

    def _judge(self, ranking: str, sample: Sample, label: str, scores: npt.ArrayLike, outcomes: npt.ArrayLike) -> None:
        """What was found of a class in an image, and whether it is right."""
        number = np.size(scores)
        self._append(f"{ranking}_keys", np.full(number, image_key(sample.path)))
        self._append(f"{ranking}_labels", np.full(number, self._index[label]))
        self._append(f"{ranking}_scores", scores)
        self._append(f"{ranking}_outcomes", outcomes)

    def _ap(self, name: str, note: str) -> Metric:
        """The mean AP over classes with something to find; no value when nothing was found in any image."""
        if not len(self._rows("found_labels")):
            return self._mean.metric(name, {}, {})
        positives = zip(self._mean.classes, self.positives.tolist(), strict=True)
        counts = {label: number for label, number in positives if number}
        found, centre, whole = (
            {label: self._judged(ranking, label) for label in counts} for ranking in ("found", "centre", "whole")
        )

        def ap(ranking: Mapping[str, _Ranking]) -> dict[str, float]:
            return {label: ranking_ap(*ranking[label][:2], counts[label], self.method) for label in counts}

        return self._mean.metric(
            name,
            ap(found),
            counts,
            baseline=ap(centre),
            whole_image=ap(whole) if len(self._rows("whole_labels")) else None,
            note=note,
            resampled=self._resampled(found) if self.replicates else None,
        )

    def _judged(self, ranking: str, label: str) -> _Ranking:
        """Score, whether it is right, and its image's key of each finding of a class that is right or wrong."""
        outcomes = self._rows(f"{ranking}_outcomes")
        mine = (self._rows(f"{ranking}_labels") == self._index[label]) & (outcomes >= 0)
        return self._rows(f"{ranking}_scores")[mine], outcomes[mine] == 1, self._rows(f"{ranking}_keys")[mine]

    def _resampled(self, found: Mapping[str, _Ranking]) -> dict[str, Doubles]:
        expected = [self._rows(f"expected_{name}") for name in ("keys", "labels", "numbers")]
        keys = np.unique(np.concatenate([expected[0], *(ranking[2] for ranking in found.values())]))
        entries = sum(len(ranking[0]) for ranking in found.values())
        weights = poisson_weights(keys.tolist(), affordable(entries, self.replicates))
        drawn = {}
        for label, (scores, right, of) in found.items():
            mine = expected[1] == self._index[label]
            positives = np.zeros(len(keys), np.int64)
            np.add.at(positives, np.searchsorted(keys, expected[0][mine]), expected[2][mine])
            drawn[label] = resampled_ap(scores, right, np.searchsorted(keys, of), positives, weights, self.method)
        return drawn
