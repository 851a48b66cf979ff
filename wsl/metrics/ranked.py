"""Average precision of one ranking per class over all images, for detection and localization by point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.metrics.bootstrap import Doubles, poisson_weights
from wsl.metrics.ranking import Method, ranking_ap, require_method
from wsl.metrics.resampling import affordable, resampled_ap
from wsl.metrics.statistic import Records, Statistic, Totals
from wsl.results import Metric

RANKED = [("key", np.int64), ("label", np.int32), ("score", np.float32), ("outcome", np.int8)]
EXPECTED = [("key", np.int64), ("label", np.int32), ("number", np.int32), ("missing", np.bool_)]


class Ranking(NamedTuple):
    """Correct and wrong predictions of one class: their scores, which are correct, and their images' keys."""

    scores: npt.NDArray[np.float32]
    right: npt.NDArray[np.bool_]
    keys: npt.NDArray[np.int64]


class APStatistic(Statistic):
    """The mean over classes of average precision, by one or several rules.

    A subclass measures with `measured`.

    >>> from wsl.metrics import ClassificationAP
    >>> ClassificationAP(["dog"]).compute().name
    'mAP'
    >>> [metric.name for metric in ClassificationAP(["dog"], ("all-point", "11-point")).compute()]
    ['mAP', 'mAP (11-point)']
    """

    columns = 0

    def __init__(
        self, classes: Sequence[str], method: Method | Sequence[Method] = "all-point", **settings: Any
    ) -> None:
        self.methods: tuple[Method, ...] = (method,) if isinstance(method, str) else tuple(method)
        self._one = isinstance(method, str)
        for rule in self.methods:
            require_method(rule)
        super().__init__(classes, **settings)

    def report(self, totals: Totals) -> Metric | tuple[Metric, ...]:
        """The mean AP over the classes with ground truth; no value if nothing was predicted in any image."""
        metrics = tuple(self.measured(totals, method) for method in self.methods)
        return metrics[0] if self._one else metrics

    def measured(self, totals: Totals, method: Method) -> Metric:
        """The metric by one rule."""
        raise NotImplementedError(f"{type(self).__name__} has no measure")

    def named(self, name: str, method: Method) -> str:
        """The metric's name for a rule."""
        return name if method == "all-point" else f"{name} ({method})"


class RankingStatistic(APStatistic):
    """Mean over classes of the AP of predictions that are, image by image, correct (1), wrong (0) or left out (-1).

    A subclass records the predictions of each view (``found``, ``centre``, ``whole``), and the ground truth
    (``expected``). Keeps 17 bytes per prediction, and 20 bytes for each class with ground truth in an image.
    """

    records: Mapping[str, Any] = MappingProxyType(
        {"found": RANKED, "centre": RANKED, "whole": RANKED, "expected": EXPECTED}
    )

    def average(self, totals: Totals, name: str, note: str, method: Method) -> Metric:
        """The mean AP over classes with ground truth; no value if nothing was predicted in any image."""
        expected = totals.records("expected")
        positives = summed(expected["label"], expected["number"], len(self.mean.classes))
        found = totals.records("found")
        if not len(found):
            return self.mean.metric(name)
        rankings = self._rankings(found, positives)

        def ap(of: Mapping[int, Ranking]) -> Doubles:
            values = np.full(len(positives), np.nan)
            for row, ranking in of.items():
                values[row] = ranking_ap(ranking.scores, ranking.right, int(positives[row]), method)
            return values

        centre, whole = (self._rankings(totals.records(view), positives) for view in ("centre", "whole"))
        return self.mean.metric(
            name,
            ap(rankings),
            positives,
            baseline=ap(centre),
            whole_image=ap(whole) if len(totals.records("whole")) else None,
            note=note,
            resampled=self._resampled(rankings, expected, method) if self.replicates else None,
            images=len(np.unique(expected["key"])),
        )

    def over_scores(self) -> tuple[Doubles, Doubles, Doubles]:
        """The scores in descending order, and precision and recall of the report classes at that score or higher."""
        found, expected = self.totals.records("found"), self.totals.records("expected")
        reported = list(self.mean.reported)
        found = found[np.isin(found["label"], reported) & (found["outcome"] >= 0)]
        found = found[np.argsort(-found["score"], kind="stable")]
        positives = int(expected["number"][np.isin(expected["label"], reported)].sum())
        last = np.flatnonzero(np.append(found["score"][1:] != found["score"][:-1], True)[: len(found)])
        right = (found["outcome"] == 1).cumsum()[last]
        return found["score"][last].astype(np.float64), right / (last + 1), right / max(1, positives)

    def _rankings(self, records: Records, positives: npt.NDArray[np.int64]) -> dict[int, Ranking]:
        """The correct and wrong predictions of each class with ground truth."""
        judged = records[records["outcome"] >= 0]
        judged = judged[np.argsort(judged["label"], kind="stable")]
        rows = np.flatnonzero(positives)
        starts, ends = (np.searchsorted(judged["label"], rows, side).tolist() for side in ("left", "right"))
        parts = {row: judged[start:end] for row, start, end in zip(rows.tolist(), starts, ends, strict=True)}
        return {row: Ranking(part["score"], part["outcome"] == 1, part["key"]) for row, part in parts.items()}

    def _resampled(self, found: Mapping[int, Ranking], expected: Records, method: Method) -> Doubles:
        keys = np.unique(np.concatenate([expected["key"], *(ranking.keys for ranking in found.values())]))
        entries = sum(len(ranking.scores) for ranking in found.values())
        replicates = affordable(entries, self.replicates)
        weights = poisson_weights(keys.tolist(), replicates)
        drawn = np.full((len(self.mean.classes), replicates), np.nan)
        for row, (scores, right, of) in found.items():
            mine = expected[expected["label"] == row]
            positives = summed(np.searchsorted(keys, mine["key"]), mine["number"], len(keys))
            drawn[row] = resampled_ap(scores, right, np.searchsorted(keys, of), positives, weights, method)
        return drawn


def summed(places: npt.NDArray[Any], numbers: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """The sum of the numbers at each of ``count`` places.

    >>> summed(np.array([2, 0, 2]), np.array([1, 5, 1]), 3).tolist()
    [5, 0, 2]
    """
    sums = np.zeros(count, np.int64)
    np.add.at(sums, places, numbers)
    return sums
