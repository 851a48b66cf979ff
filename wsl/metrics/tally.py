"""Hits and trials of each class: what every metric counts whose image is either right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from wsl.metrics.protocol import StreamingMetric
from wsl.results import Metric


class HitMetric(StreamingMetric):
    """A metric of trials that hit or miss, for a method and for the baseline that sees the same trials.

    A subclass counts with `_count` and reports with `_rates`. Several numbers over the same classes have a column
    each; a trial may belong to some columns only.

    >>> class Luck(HitMetric):
    ...     def update(self, found, sample):
    ...         self._count("dog", [found], baseline=[False])
    ...
    ...     def compute(self):
    ...         return self._rates("luck")
    >>> luck = Luck(["cat", "dog"])
    >>> luck.update(True, None)
    >>> luck.update(False, None)
    >>> luck.compute().value, luck.compute().baseline, luck.compute().counts
    (0.5, 0.0, {'dog': 2})
    """

    trials: torch.Tensor
    hits: torch.Tensor
    baseline_hits: torch.Tensor

    def __init__(
        self, classes: Sequence[str], report_classes: Sequence[str] = (), *, columns: int = 1, **settings: Any
    ) -> None:
        super().__init__(classes, report_classes, **settings)
        for name in ("trials", "hits", "baseline_hits"):
            self._add_counter(name, len(self._mean.classes), columns)

    def _count(
        self, label: str, hits: Sequence[bool], *, baseline: Sequence[bool], counted: Sequence[bool] | None = None
    ) -> None:
        """One trial of a class: a hit or a miss in each column, or none of both where it is not ``counted``."""
        taken = [True] * len(hits) if counted is None else counted
        row = self._index[label]
        for state, flags in ((self.trials, taken), (self.hits, hits), (self.baseline_hits, baseline)):
            state[row] += torch.tensor(
                [flag and take for flag, take in zip(flags, taken, strict=True)], device=state.device
            )

    def _rates(
        self, name: str, column: int = 0, *, measured: bool = True, pooled: bool = False, note: str = ""
    ) -> Metric:
        """Hits over trials: the mean over classes, or with ``pooled`` over all trials; no value unless measured."""
        states = (self.trials, self.hits, self.baseline_hits)
        trials, hits, baseline = (state[:, column].tolist() for state in states)
        counted = [i for i, trial in enumerate(trials) if trial and measured]
        classes = self._mean.classes
        return self._mean.metric(
            name,
            {classes[i]: hits[i] / trials[i] for i in counted},
            {classes[i]: trials[i] for i in counted},
            baseline={classes[i]: baseline[i] / trials[i] for i in counted},
            pooled=pooled,
            note=note,
        )
