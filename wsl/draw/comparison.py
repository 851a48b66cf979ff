"""The figure of a comparison, for one column of a paper: one panel per metric, one line per run."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from wsl.comparison import Comparison
from wsl.files import replacing

WIDTH = 3.3
"""Width in inches: one column of a two-column page."""

_LETTERS, _TITLE = 18, 22
_COLOR, _GREY = "#1864ab", "#868e96"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 7,
    "pdf.fonttype": 42,  # TrueType, which publishers require
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "wsl-compare",
    "text.parse_math": False,  # names may contain dollar signs
}


def plot_comparison(path: Path, comparison: Comparison, file_format: Literal["pdf", "svg", "png"] = "pdf") -> None:
    """Plot one panel per metric: a dot for each run with its 95 % interval, and the centre baseline dashed.

    For metrics of classes the baseline is chance. The axis of a panel spans the values of the runs; a baseline far
    outside is named at the edge beyond which it lies.

    >>> import tempfile
    >>> from wsl.comparison import ComparedRun
    >>> from wsl.results import Metric
    >>> def of(name, value):
    ...     return ComparedRun(name=name, source=name, metrics={"mAP": Metric(name="mAP", value=value)})
    >>> runs = [of("a", 0.5), of("b", 0.7)]
    >>> both = Comparison(runs=runs, metrics=["mAP"], differences=(), baseline="a", images=9, split="val")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     plot_comparison(Path(folder, "a.pdf"), both)
    ...     Path(folder, "a.pdf").read_bytes()[:4]
    b'%PDF'
    """
    names = [_folded(run.name) for run in comparison.runs]
    columns = 1 if len(comparison.metrics) == 1 or max(len(line) for name in names for line in name) > 14 else 2
    lines = math.ceil(len(comparison.metrics) / columns)
    height = sum(0.06 + 0.11 * len(name) for name in names) + 0.42
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height * lines + 0.16), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.03, hspace=0.03)  # type: ignore[union-attr, call-arg]
        for i, metric in enumerate(comparison.metrics):
            axes = figure.add_subplot(lines, columns, i + 1)
            _draw(axes, comparison, metric)
            shown = ["\n".join(name) for name in names] if i % columns == 0 else [""] * len(names)
            axes.set_yticks(range(len(names)), shown)
        # Neighbouring panels share the names of the rows.
        bottom = max(axes.get_ylim()[0] for axes in figure.axes)
        for axes in figure.axes:
            axes.set_ylim(bottom, -0.6)
        dashed = Line2D(
            [], [], color=_GREY, linestyle="--", linewidth=0.8, label="centre of the image (classes: chance)"
        )
        figure.legend(handles=[dashed], loc="outside lower center", frameon=False, fontsize=6)
        with replacing(path, durable=False) as temporary:
            # Without dates and versions, so that files of the same figure are identical.
            unsaid = {"pdf": ("Creator", "Producer", "CreationDate"), "svg": ("Creator", "Date"), "png": ("Software",)}
            metadata = dict.fromkeys(unsaid[file_format])
            figure.savefig(temporary, format=file_format, metadata=metadata, dpi=300)


def _draw(axes: Axes, comparison: Comparison, metric: str) -> None:
    reached = []
    for row, run in enumerate(comparison.runs):
        value = run.value(metric)
        if value is None:
            continue
        low, high = run.metrics[metric].interval or (value, value)
        axes.plot([low, high], [row, row], color=_COLOR, linewidth=1)
        axes.plot([value], [row], "o", color=_COLOR, markersize=3)
        reached += [low, value, high]
    low, high = min(reached, default=0.0), max(reached, default=1.0)
    span = max(high - low, 0.02)
    centre = comparison.centre(metric)
    axes.set_ylim(len(comparison.runs) - 0.4, -0.6)
    if centre is not None and low - 1.5 * span <= centre[0] and centre[1] <= high + 1.5 * span:
        for value in sorted({round(one, 3) for one in centre}):
            axes.axvline(value, color=_GREY, linestyle="--", linewidth=0.8)
        low, high = min(low, centre[0]), max(high, centre[1])
    elif centre is not None:
        _name_far(axes, centre, below=centre[0] < low)
    margin = 0.08 * max(high - low, 0.02)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    axes.set_title("\n".join(textwrap.wrap(metric, _TITLE)), fontsize=7, pad=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=2, pad=2)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e9ecef", linewidth=0.6)
    axes.set_axisbelow(True)


def _name_far(axes: Axes, centre: tuple[float, float], *, below: bool) -> None:
    values = "–".join(dict.fromkeys(f"{value:.2f}" for value in centre))
    bottom = axes.get_ylim()[0]
    axes.set_ylim(bottom + 0.5, -0.6)
    text, x, side = (f"← centre {values}", 0.01, "left") if below else (f"centre {values} →", 0.99, "right")
    axes.text(
        x, bottom + 0.2, text, transform=axes.get_yaxis_transform(), ha=side, va="center", fontsize=6, color=_GREY
    )


def _folded(name: str) -> list[str]:
    """A name split into as many lines as necessary, so that it is not cut off and the panels keep their width."""
    return textwrap.wrap(name, _LETTERS) or [""]
