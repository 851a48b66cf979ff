"""The console line of each epoch: its figures, the best so far, and the time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class EpochTable:
    """One line for each epoch, with columns of fixed width; a star marks the best epoch so far.

    ``begun`` is the time at which the first epoch began, in the records' seconds; the time before it, which is spent
    only once, is left out of the estimate.

    >>> record = {"epoch": 2, "loss": 0.25, "lr": 0.001, "mAP": 0.5, "images_per_second": 120.0, "seconds": 60.0}
    >>> EpochTable(epochs=10, first=0, best_by="mAP").row(record, record)
    'epoch 2/10   loss 0.2500  lr 0.001    mAP 0.500*  120 images/s  1:00, 4:00 left'
    >>> EpochTable(epochs=10, first=0, best_by="mAP", begun=50.0).row(record, record)[-15:]
    '1:00, 0:40 left'
    """

    def __init__(self, epochs: int, first: int, best_by: str, begun: float = 0.0) -> None:
        self._epochs, self._first, self._best_by, self._begun = epochs, first, best_by, begun

    def row(self, record: Mapping[str, Any], best: Mapping[str, Any]) -> str:
        """The line of an epoch; `best` is the record of the best epoch so far."""
        width = 2 * len(str(self._epochs)) + 8
        epoch, seconds = record["epoch"], record["seconds"]
        parts = [f"epoch {epoch}/{self._epochs}".ljust(width), f"loss {record['loss']:.4f}"]
        parts += [] if record["lr"] is None else [f"lr {record['lr']:.2g}".ljust(10)]
        improved = best["epoch"] == epoch
        for figure in figures(record):
            counts = figure.startswith(self._best_by) and improved
            parts.append(figure + ("*" if counts else " "))
        if not improved and best.get(self._best_by) is not None:
            parts.append(f"best {best[self._best_by]:.3f} (epoch {best['epoch']})")
        left = (self._epochs - epoch) * (seconds - self._begun) / (epoch - self._first)
        parts += [f"{record['images_per_second']:.0f} images/s", f"{_clock(seconds)}, {_clock(left)} left"]
        return "  ".join(parts)


def figures(record: Mapping[str, Any]) -> list[str]:
    """The validation figures of a record, as text.

    >>> figures({"mAP": 0.51234, "pointing": None})
    ['mAP 0.512']
    """
    return [f"{name} {record[name]:.3f}" for name in ("mAP", "pointing") if record.get(name) is not None]


def _clock(seconds: float) -> str:
    """Format as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
