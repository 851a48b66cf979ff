"""What every streaming metric of this room is: a torchmetrics metric over localizations and their samples."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchmetrics

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.bootstrap import REPLICATES, ImageDraws, require_replicates
from wsl.metrics.class_mean import ClassMean
from wsl.results import Localization, Metric
from wsl.samples import Sample


class StreamingMetric(torchmetrics.Metric):
    """A metric that sees one image at a time, can be read at any moment, and adds up over processes.

    `update` leaves its arguments as they are and keeps no reference to an image's maps; `compute` changes nothing,
    so more images may follow it. What a metric keeps in memory is stated in its docstring. Two halves of a data set
    measured apart give the whole: with ``one.merge_state(other)`` in one process, by themselves in `compute` where
    torch.distributed runs (``sync_on_compute=False`` leaves each process its own number). In a
    ``torchmetrics.MetricCollection`` set ``compute_groups=False``: it takes metrics for one that agree on the first
    image.

    Intervals come from a bootstrap that draws images, with all that was found in them: `poisson_weights` gives each
    image the same draws in every process and metric, so that merged states have the interval of the whole.

    Args:
        classes: All class names, in the order of the report.
        report_classes: Those that the mean is taken over; all when empty.
        replicates: How many resampled data sets the interval rests on; 0 for no interval, at no cost.
        draws: Shared by metrics that see the same images one after another, which makes them once an image.
        settings: What torchmetrics.Metric takes, such as ``sync_on_compute`` and ``process_group``.

    Raises:
        UserError: no class, a class named twice, a report class that is not among the classes, or a number of
            replicates too small for an interval.
    """

    full_state_update = False

    def __init__(
        self,
        classes: Sequence[str],
        report_classes: Sequence[str] = (),
        *,
        replicates: int = REPLICATES,
        draws: ImageDraws | None = None,
        **settings: Any,
    ) -> None:
        require_replicates(replicates)
        # torchmetrics would keep the last result even when a state is merged in.
        super().__init__(compute_with_cache=False, **settings)
        self.replicates = replicates
        self._image_draws = ImageDraws() if draws is None else draws
        self._mean = ClassMean(classes, report_classes)
        self._index = {label: i for i, label in enumerate(self._mean.classes)}
        self._blank: dict[str, torch.Tensor] = {}

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in one image: what was found in it and the ground truth."""
        raise NotImplementedError(f"{type(self).__name__} has no update")

    def compute(self) -> Metric | tuple[Metric, ...]:
        """The number over all images so far; its value is None where nothing could be measured."""
        raise NotImplementedError(f"{type(self).__name__} has no compute")

    @property
    def update_called(self) -> bool:
        """Always true: no image at all is a result, the one without a value, and needs no warning."""
        return True

    def sync(self, *args: Any, **settings: Any) -> None:
        """As torchmetrics has it, also where a process saw no image: its empty lists need their shape and type."""
        for name, blank in self._blank.items():
            if isinstance(getattr(self, name), list) and not getattr(self, name):
                getattr(self, name).append(blank.to(self.device))
        super().sync(*args, **settings)

    def _wrap_compute(self, compute: Callable[[], Any]) -> Callable[[], Any]:
        # torchmetrics looks for tensors in what compute returns, and does not look into frozen dataclasses but fails.
        sealed = super()._wrap_compute(lambda: _Sealed(compute()))
        return functools.wraps(compute)(lambda: sealed().content)

    def _draws(self, sample: Sample) -> torch.Tensor:
        """How often the image is drawn in each replicate, (replicates,)."""
        return torch.as_tensor(self._image_draws.of(sample.path, self.replicates), device=self.device)

    def _add_counter(self, name: str, *shape: int, dtype: torch.dtype = torch.int64) -> None:
        """A state of fixed size, zero at first and summed over processes."""
        self.add_state(name, torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")

    def _add_rows(self, name: str, *columns: int, dtype: torch.dtype) -> None:
        """A state that grows by some rows an image, joined over processes."""
        self.add_state(name, [], dist_reduce_fx="cat")
        self._blank[name] = torch.empty((0, *columns), dtype=dtype)

    def _append(self, name: str, rows: npt.ArrayLike) -> None:
        blank = self._blank[name]
        # A copy, since the caller's array stays the caller's.
        values = torch.as_tensor(np.array(rows), dtype=blank.dtype, device=self.device)
        getattr(self, name).append(values.reshape(-1, *blank.shape[1:]))

    def _rows(self, name: str) -> npt.NDArray[Any]:
        """All rows so far; one tensor after a synchronisation, else one an image."""
        state = getattr(self, name)
        parts = state if isinstance(state, list) else [state]
        return np.asarray(torch.cat([self._blank[name], *(part.cpu() for part in parts)]).numpy())


class _Sealed:
    def __init__(self, content: Any) -> None:
        self.content = content


def annotated_boxes(sample: Sample) -> Boxes:
    """The true boxes of a sample, for metrics that cannot do without.

    Raises:
        UserError: nobody annotated boxes in this image.

    >>> len(annotated_boxes(Sample(path="a.jpg", boxes=Boxes.empty())))
    0
    """
    if sample.boxes is None:
        raise UserError(f"{sample.path}: no boxes are annotated, expected some (or an empty list): leave the image out")
    return sample.boxes
