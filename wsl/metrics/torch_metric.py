"""Any `Statistic` as a torchmetrics metric, for its trainers, collections and process groups."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchmetrics

from wsl.metrics.evidence import Evidence
from wsl.metrics.statistic import Statistic, Totals
from wsl.results import Localization
from wsl.samples import Sample


class TorchMetric(torchmetrics.Metric):
    """A `Statistic` as a ``torchmetrics.Metric``, with its totals as states.

    Two halves of a data set measured separately give the whole: with ``one.merge_state(other)`` in one process, or
    automatically in `compute` under torch.distributed (``sync_on_compute=False`` keeps each process's own number). In a
    ``torchmetrics.MetricCollection`` set ``compute_groups=False``, because it merges metrics that agree on the first
    image.

    Args:
        statistic: The metric; images that it has already seen are not counted.
        settings: Arguments of torchmetrics.Metric, such as ``sync_on_compute`` and ``process_group``.

    >>> from wsl import Boxes
    >>> from wsl.metrics import CorLoc
    >>> metric, truth = TorchMetric(CorLoc(["dog"])), Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value
    1.0
    """

    full_state_update = False

    def __init__(self, statistic: Statistic, **settings: Any) -> None:
        # torchmetrics would keep a cached result even after another state is merged in.
        super().__init__(compute_with_cache=False, **settings)
        self._statistic = statistic
        nothing = statistic.nothing()
        self._counters = tuple(nothing.counters)
        self._kinds = {name: parts[0].dtype for name, parts in nothing.kept.items()}
        for name, counter in nothing.counters.items():
            self.add_state(f"sum_{name}", torch.from_numpy(counter), dist_reduce_fx="sum")
        for name in nothing.kept:
            # Rows of bytes, which tensors can hold.
            self.add_state(f"records_{name}", [], dist_reduce_fx="cat")

    def update(self, found: Localization, sample: Sample) -> None:
        """Add one image, as `Statistic.update` does."""
        statistic, totals = self._statistic, self._totals()
        before = {name: len(parts) for name, parts in totals.kept.items()}
        observed = statistic.observed(Evidence(found, sample, statistic.index))
        statistic.add(sample, observed, totals)
        for name, counter in totals.counters.items():
            setattr(self, f"sum_{name}", torch.from_numpy(counter).to(self.device))
        for name, parts in totals.kept.items():
            for records in parts[before[name] :]:
                getattr(self, f"records_{name}").append(_as_bytes(records).to(self.device))

    def compute(self) -> Any:
        """The metric or metrics over all images so far; a value is None if nothing could be measured."""
        return self._statistic.report(self._totals())

    @property
    def update_called(self) -> bool:
        """Always true: without any image the result has no value, which needs no warning."""
        return True

    def sync(self, *args: Any, **settings: Any) -> None:
        """Synchronise as torchmetrics does, also if a process saw no image: its empty lists need a shape and type."""
        for name, kind in self._kinds.items():
            if isinstance(getattr(self, f"records_{name}"), list) and not getattr(self, f"records_{name}"):
                getattr(self, f"records_{name}").append(_as_bytes(np.empty(0, kind)).to(self.device))
        super().sync(*args, **settings)

    def _wrap_compute(self, compute: Callable[[], Any]) -> Callable[[], Any]:
        # torchmetrics searches the result of compute for tensors, and fails on frozen dataclasses.
        sealed = super()._wrap_compute(lambda: _Sealed(compute()))
        return functools.wraps(compute)(lambda: sealed().content)

    def _totals(self) -> Totals:
        """The states as totals; those on the CPU share their memory."""
        counters = {name: getattr(self, f"sum_{name}").cpu().numpy() for name in self._counters}
        records = {}
        for name, kind in self._kinds.items():
            state = getattr(self, f"records_{name}")
            parts = state if isinstance(state, list) else [state]
            records[name] = [np.empty(0, kind), *(part.cpu().numpy().view(kind).ravel() for part in parts)]
        return Totals(counters, records)


class _Sealed:
    def __init__(self, content: Any) -> None:
        self.content = content


def _as_bytes(records: Any) -> torch.Tensor:
    return torch.from_numpy(records.copy().view(np.uint8).reshape(len(records), records.dtype.itemsize))
