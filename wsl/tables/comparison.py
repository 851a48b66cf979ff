"""Tables of a comparison: the runs side by side, and their differences from one of them."""

from __future__ import annotations

from wsl.comparison import Agreement, ComparedRun, Comparison, Difference
from wsl.tables.report import FEW
from wsl.tables.styles import TableStyle, format_table

_CSV_HEADER = (
    *("run", "metric", "value", "low", "high", "centre", "images"),
    *("against", "difference", "difference_low", "difference_high", "beyond_noise"),
)


def comparison_table(comparison: Comparison, style: TableStyle = "markdown") -> str:
    """A table of the runs by the chosen metrics, a second one of the differences from one run, and an explanation.

    Values are given with their 95 % interval. In LaTeX the sentences around the tables are comments; CSV is one table
    with a row for each run and metric, and only numbers in its cells.

    >>> from wsl.results import Metric
    >>> def of(name, value):
    ...     metric = Metric(name="mAP", value=value, baseline=0.1)
    ...     return ComparedRun(name=name, source=f"runs/{name}", metrics={"mAP": metric})
    >>> runs = [of("gap", 0.5), of("lse", 0.75)]
    >>> apart = Difference(run="lse", against="gap", metric="mAP", value=0.25, interval=(0.125, 0.375))
    >>> both = Comparison(runs=runs, metrics=["mAP"], differences=[apart], baseline="gap", images=40, split="val")
    >>> print(comparison_table(both))
    40 images of split val. Boxes and maps by protocol default.
    <BLANKLINE>
    | run            |       mAP |
    | :------------- | --------: |
    | gap            |     0.500 |
    | lse            | **0.750** |
    | centre, chance |     0.100 |
    <BLANKLINE>
    - gap: runs/gap
    - lse: runs/lse
    <BLANKLINE>
    Differences to gap:
    <BLANKLINE>
    | run |                        mAP |
    | :-- | -------------------------: |
    | lse | +0.250 (+0.125 to +0.375)* |
    <BLANKLINE>
    Bold: the best run, where its difference to the second is more than noise.
    Asterisk: the paired 95 % interval of the difference excludes 0; both runs were measured on the same resamples.
    1 comparison, not corrected for their number: where runs do not differ, 1 in 20 has an asterisk by chance.
    """
    if style == "csv":
        return _csv(comparison)
    parts: list[tuple[str, bool]] = [(_opening(comparison), False)]
    if comparison.metrics:
        parts += [(_values(comparison, style), True), (_sources(comparison), False)]
        parts += [(f"Differences to {comparison.baseline}:", False), (_differences(comparison, style), True)]
        parts.append((_meaning(comparison), False))
    else:
        parts.append((_sources(comparison), False))
    if comparison.agreement:
        parts += [(_AGREEMENT, False), (_agreement(comparison, style), True)]
    if style == "latex":
        parts[0] = (f"{parts[0][0]} The tables need \\usepackage{{booktabs}}.", False)
    return "\n\n".join(text if table or style == "markdown" else _commented(text) for text, table in parts)


_AGREEMENT = (
    "Agreement on the labelled classes of each image, whatever is true:\n"
    "the mean IoU of the two runs' best boxes, and the mean Pearson correlation of their maps."
)


def _commented(text: str) -> str:
    return "\n".join(f"% {line}".rstrip() for line in text.splitlines())


def _opening(comparison: Comparison) -> str:
    count = comparison.images
    return (
        f"{count} {'image' if count == 1 else 'images'} of split {comparison.split}. "
        f"Boxes and maps by protocol {comparison.protocol}."
    )


def _sources(comparison: Comparison) -> str:
    lines = []
    for run in comparison.runs:
        tolerated = "".join(f"; {count} {kind}" for kind, count in run.warnings.items())
        boxes = f"; boxes: {run.boxes}" if run.boxes else ""
        lines.append(f"- {run.name}: {run.source}{boxes}{tolerated}")
    return "\n".join(lines)


def _values(comparison: Comparison, style: TableStyle) -> str:
    """One row per run, one column per metric, with the baseline last."""
    rows, bold = [], set()
    best = [comparison.best(metric) for metric in comparison.metrics]
    for i, run in enumerate(comparison.runs):
        rows.append([run.name, *(_value(run, metric) for metric in comparison.metrics)])
        bold |= {(i, j) for j, name in enumerate(best, 1) if name == run.name}
    rows.append(["centre, chance", *(_centre(comparison, metric) for metric in comparison.metrics)])
    few = [_few(comparison, metric) for metric in comparison.metrics]
    names = [metric + (" †" if mark else "") for metric, mark in zip(comparison.metrics, few, strict=True)]
    return format_table(["run", *names], rows, (0,), style, bold=bold)


def _few(comparison: Comparison, metric: str) -> bool:
    return any(0 < run.metrics[metric].images < FEW for run in comparison.runs if metric in run.metrics)


def _value(run: ComparedRun, metric: str) -> str:
    value = run.value(metric)
    if value is None:
        return ""
    interval = run.metrics[metric].interval
    return f"{value:.3f}" + ("" if interval is None else f" ({interval[0]:.3f}–{interval[1]:.3f})")


def _centre(comparison: Comparison, metric: str) -> str:
    known = comparison.centre(metric)
    if known is None:
        return ""
    low, high = (f"{value:.3f}" for value in known)
    return low if low == high else f"{low}–{high}"


def _differences(comparison: Comparison, style: TableStyle) -> str:
    others = [run.name for run in comparison.runs if run.name != comparison.baseline]
    rows = [
        [name, *(_difference(comparison.difference(name, comparison.baseline, one)) for one in comparison.metrics)]
        for name in others
    ]
    return format_table(["run", *comparison.metrics], rows, (0,), style)


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    text = _signed(difference.value)
    if difference.interval is not None:
        text += f" ({_signed(difference.interval[0])} to {_signed(difference.interval[1])})"
    return text + ("*" if difference.beyond_noise else "")


def _signed(value: float) -> str:
    text = f"{value:+.3f}".replace("-", "−")
    return text[1:] if text[1:] == "0.000" else text


def _meaning(comparison: Comparison) -> str:
    count = sum(
        difference.interval is not None
        for difference in comparison.differences
        if comparison.baseline in (difference.run, difference.against)
    )
    lines = [
        "Bold: the best run, where its difference to the second is more than noise.",
        "Asterisk: the paired 95 % interval of the difference excludes 0; "
        "both runs were measured on the same resamples.",
        f"{count} {'comparison' if count == 1 else 'comparisons'}, not corrected for their number: where runs do not "
        "differ, 1 in 20 has an asterisk by chance.",
    ]
    if any(_few(comparison, metric) for metric in comparison.metrics):
        lines.append(f"† fewer than {FEW} images are behind this number.")
    return "\n".join(lines)


def _agreement(comparison: Comparison, style: TableStyle) -> str:
    """A matrix with the overlap of boxes and the correlation of maps for each pair of runs."""
    known = {(one.run, one.against): one for one in comparison.agreement}
    known |= {(against, run): one for (run, against), one in known.items()}
    names = [run.name for run in comparison.runs]
    rows = [[row, *(_alike(known.get((row, column))) for column in names)] for row in names]
    return format_table(["boxes, maps", *names], rows, (0,), style)


def _alike(agreement: Agreement | None) -> str:
    if agreement is None:
        return ""
    numbers = (agreement.iou, agreement.correlation)
    return ", ".join("none" if number is None else f"{number:.3f}".replace("-", "−") for number in numbers)


def _csv(comparison: Comparison) -> str:
    rows = []
    for run in comparison.runs:
        for name in comparison.metrics:
            metric = run.metrics.get(name)
            apart = comparison.difference(run.name, comparison.baseline, name)
            numbers = [None, None, None] if metric is None else [metric.value, *(metric.interval or (None, None))]
            differs = [None, None, None] if apart is None else [apart.value, *(apart.interval or (None, None))]
            rows.append(
                [
                    *(run.name, name, *map(_plain, numbers)),
                    _plain(None if metric is None else metric.baseline),
                    str(metric.images) if metric is not None and metric.images else "",
                    *(comparison.baseline if apart is not None else "", *map(_plain, differs)),
                    "" if apart is None or apart.interval is None else str(apart.beyond_noise).lower(),
                ]
            )
    return format_table(_CSV_HEADER, rows, (), "csv")


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"
