"""The figures of an evaluation: accuracy over threshold, precision over recall, overlaps, classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsl.files import replacing
from wsl.results import Metric

_SIZE = (6.4, 4.0)
_DPI = 150
_GREY = "#868e96"


def plot_curves(
    path: Path,
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    x: str,
    y: str,
    marks: Mapping[str, float] | None = None,
    diagonal: str = "",
    title: str = "",
) -> None:
    """Plot named curves over one axis; ``marks`` are named positions on the axis, drawn as dashed lines.

    Every second curve is dashed, so that a curve under it remains visible where they coincide. ``diagonal`` is the name
    of the diagonal, which is drawn if the name is not empty.

    Shape:
        Each curve is two arrays of the same length, its positions and its values in [0, 1].

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_curves(Path(folder, "a.png"), {"IoU 0.5": ([0, 1], [0.2, 0.7])}, x="threshold", y="accuracy")
    ...     Path(folder, "a.png").read_bytes()[1:4]
    b'PNG'
    """
    figure, axes = _axes(title)
    for i, (name, (positions, values)) in enumerate(curves.items()):
        style: dict[str, Any] = {"linestyle": (0, (3, 2)), "zorder": 2.5} if i % 2 else {}
        axes.plot(np.asarray(positions), np.asarray(values), label=_plain(name), linewidth=1.5, **style)
    for i, (name, position) in enumerate((marks or {}).items()):
        axes.axvline(position, color=_GREY, linestyle=("--", ":", "-.")[i % 3], linewidth=1, label=_plain(name))
    if diagonal:
        axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label=_plain(diagonal))
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))
    if curves:
        _add_legend(axes)
    _save(figure, path)


def plot_over_rates(
    path: Path,
    rates: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    x: str,
    y: str,
    marks: Mapping[str, float] | None = None,
) -> None:
    """Plot named curves over rates on a logarithmic axis; ``marks`` are named rates, drawn as dashed lines.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_over_rates(Path(folder, "a.png"), [0.01, 0.1], {"loss": [0.7, 0.6]}, x="learning rate", y="loss")
    """
    figure, axes = _axes("")
    for i, (name, values) in enumerate(curves.items()):
        axes.plot(rates, values, label=_plain(name), linewidth=1.0 + 0.8 * i, alpha=0.5 + 0.5 * (i > 0))
    for name, rate in (marks or {}).items():
        axes.axvline(rate, color=_GREY, linestyle="--", linewidth=1, label=_plain(name))
    axes.set(xlabel=x, ylabel=y, xscale="log")
    _add_legend(axes)
    _save(figure, path)


def plot_overlaps(path: Path, overlaps: Sequence[float], iou_threshold: float = 0.5, *, title: str = "") -> None:
    """Plot a histogram of the boxes' overlaps with their objects, in twenty bins, with correct boxes in colour.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_overlaps(Path(folder, "a.png"), [0.1, 0.6])
    """
    figure, axes = _axes(title)
    counts, edges = np.histogram(np.clip(overlaps, 0, 1), bins=20, range=(0, 1))
    right = edges[:-1] >= iou_threshold - 1e-9
    share = sum(overlap >= iou_threshold for overlap in overlaps) / max(1, len(overlaps))
    width = edges[1] - edges[0]
    axes.bar(edges[:-1][~right], counts[~right], width, align="edge", color=_GREY, edgecolor="white")
    label = f"IoU >= {iou_threshold:g}: {share:.1%} of {len(overlaps)}"
    axes.bar(edges[:-1][right], counts[right], width, align="edge", color="#2b8a3e", edgecolor="white", label=label)
    axes.set(xlabel="IoU of the best box with the nearest object", ylabel="(image, class) pairs", xlim=(0, 1))
    _add_legend(axes)
    _save(figure, path)


def plot_groups(
    path: Path,
    names: Sequence[str],
    values: Mapping[str, Sequence[float]],
    counts: Sequence[int],
    *,
    x: str,
    y: str,
    title: str = "",
) -> None:
    """Plot bars in named groups, with the count of each group; several values of a group are drawn side by side.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_groups(Path(folder, "a.png"), ["small", "large"], {"boxes": [0.2, 0.7]}, [5, 9], x="size", y="right")
    """
    figure, axes = _axes(title)
    width = 0.8 / max(1, len(values))
    for i, (name, heights) in enumerate(values.items()):
        places = np.arange(len(names)) + (i - (len(values) - 1) / 2) * width
        color = _GREY if i else "#1971c2"
        axes.bar(places, heights, width, label=_plain(name), color=color, edgecolor="white")
    ticks = [f"{_plain(name)}\nn = {count}" for name, count in zip(names, counts, strict=True)]
    axes.set_xticks(range(len(names)), ticks, fontsize="small")
    axes.set(xlabel=x, ylabel=y, ylim=(0, 1))
    axes.grid(visible=False, axis="x")
    if len(values) > 1:
        _add_legend(axes)
    _save(figure, path)


def plot_classes(path: Path, metrics: Sequence[Metric], *, title: str = "") -> None:
    """Plot one panel per metric, with one bar per class, best first, and the mean as a line.

    Metrics without classes are left out.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_classes(Path(folder, "a.png"), [Metric(name="CorLoc", value=0.5, per_class={"dog": 0.5})])
    """
    shown = [metric for metric in metrics if metric.per_class]
    if not shown:
        return
    rows = max(len(metric.per_class) for metric in shown)
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    # A figure of a thousand classes would be too large to open; the table by class has them all.
    height = min(40.0, 0.9 + 0.22 * min(rows, 60))
    figure = Figure(figsize=(4.2 * columns, height * lines), dpi=_DPI, layout="constrained")
    for i, metric in enumerate(shown):
        axes = figure.add_subplot(lines, columns, i + 1)
        ranked = sorted(metric.per_class.items(), key=lambda item: (-item[1], item[0]))[:60]
        axes.barh(range(len(ranked)), [value for _, value in ranked], color="#1971c2")
        axes.set_yticks(range(len(ranked)), [_plain(label) for label, _ in ranked], fontsize="x-small")
        axes.invert_yaxis()
        if metric.value is not None:
            axes.axvline(metric.value, color=_GREY, linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1), title=_plain(metric.name))
        _tidy(axes)
    if title:
        figure.suptitle(_plain(title))
    _save(figure, path)


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(_plain(title), fontsize="medium")
    _tidy(axes)
    return figure, axes


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#e9ecef", linewidth=0.8)
    axes.set_axisbelow(True)


def _plain(text: str) -> str:
    """Text with dollar signs escaped, because matplotlib would typeset what is between them as mathematics."""
    return text.replace("$", r"\$")


def _add_legend(axes: Axes) -> None:
    """A legend that stays legible over curves."""
    axes.legend(facecolor="white", edgecolor="none", framealpha=0.8, fontsize="small")


def _save(figure: Figure, path: Path) -> None:
    with replacing(path, durable=False) as temporary:
        # Without the version of matplotlib, so that files of the same figure are identical.
        figure.savefig(temporary, format="png", metadata={"Software": None})
