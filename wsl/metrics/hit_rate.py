"""Hit rates: hits and trials of each class, which every metric counts whose image is either right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from wsl.metrics.protocol import StreamingMetric
from wsl.results import Metric
from wsl.samples import Sample


class HitMetric(StreamingMetric):
    """A metric of trials that hit or miss, for a method and for the baseline that sees the same trials.

    A subclass counts with `_count` and reports with `_rates`. Several numbers over the same classes have a column
    each; a trial may belong to some columns only. Keeps four counters a class and column, and two a replicate.

    >>> class Luck(HitMetric):
    ...     def update(self, found, sample):
    ...         self._count(sample, "dog", [found], baseline=[False])
    ...
    ...     def compute(self):
    ...         return self._rates("luck")
    >>> luck = Luck(["cat", "dog"])
    >>> luck.update(True, Sample(path="a.jpg"))
    >>> luck.update(False, Sample(path="b.jpg"))
    >>> luck.compute().value, luck.compute().baseline, luck.compute().counts
    (0.5, 0.0, {'dog': 2})
    """

    trials: torch.Tensor
    hits: torch.Tensor
    baseline_hits: torch.Tensor
    whole_hits: torch.Tensor
    drawn_trials: torch.Tensor
    drawn_hits: torch.Tensor

    def __init__(
        self, classes: Sequence[str], report_classes: Sequence[str] = (), *, columns: int = 1, **settings: Any
    ) -> None:
        super().__init__(classes, report_classes, **settings)
        for name in ("trials", "hits", "baseline_hits", "whole_hits"):
            self._add_counter(name, len(self._mean.classes), columns)
        for name in ("drawn_trials", "drawn_hits"):
            self._add_counter(name, len(self._mean.classes), columns, self.replicates, dtype=torch.int32)

    def _count(
        self,
        sample: Sample,
        label: str,
        hits: Sequence[bool],
        *,
        baseline: Sequence[bool],
        whole: Sequence[bool] | None = None,
        counted: Sequence[bool] | None = None,
    ) -> None:
        """One trial of a class: a hit or a miss in each column, or none of both where it is not ``counted``."""
        taken = [True] * len(hits) if counted is None else counted
        row = self._index[label]
        draws = self._draws(sample) if self.replicates else None
        for column, (hit, take) in enumerate(zip(hits, taken, strict=True)):
            if not take:
                continue
            self.trials[row, column] += 1
            self.hits[row, column] += hit
            self.baseline_hits[row, column] += baseline[column]
            self.whole_hits[row, column] += whole is not None and whole[column]
            if draws is not None:
                self.drawn_trials[row, column] += draws
                if hit:
                    self.drawn_hits[row, column] += draws

    def _rates(
        self,
        name: str,
        column: int = 0,
        *,
        measured: bool = True,
        pooled: bool = False,
        whole: bool = False,
        note: str = "",
    ) -> Metric:
        """Hits over trials: the mean over classes, or with ``pooled`` over all trials; no value unless measured."""
        states = (self.trials, self.hits, self.baseline_hits, self.whole_hits)
        trials, hits, baseline, whole_hits = (state[:, column].tolist() for state in states)
        counted = [i for i, trial in enumerate(trials) if trial and measured]
        classes = self._mean.classes
        draws, drawn_hits = (state[:, column].cpu().numpy() for state in (self.drawn_trials, self.drawn_hits))
        drawn = np.divide(drawn_hits, draws, out=np.full(draws.shape, np.nan), where=draws > 0)
        return self._mean.metric(
            name,
            {classes[i]: hits[i] / trials[i] for i in counted},
            {classes[i]: trials[i] for i in counted},
            baseline={classes[i]: baseline[i] / trials[i] for i in counted},
            whole_image={classes[i]: whole_hits[i] / trials[i] for i in counted} if whole else None,
            pooled=pooled,
            note=note,
            resampled={classes[i]: drawn[i] for i in counted} if self.replicates else None,
            draws={classes[i]: draws[i] for i in counted} if pooled else None,
        )
