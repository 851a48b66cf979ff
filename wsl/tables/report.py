"""Tables of an evaluation: Markdown that is readable as plain text, LaTeX for papers, CSV for spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence

from wsl.errors import counted
from wsl.results import EvaluationReport, Metric
from wsl.tables.styles import TableStyle, format_table

FEW = 30
"""Metrics measured on fewer images are marked."""

_KEY = {
    "default": ("mAP", "pointing", "CorLoc", "AP50", "mIoU", "PxAP", "MaxBoxAccV2", "top-1", "COCO AP", "point AP"),
    "wsolevaluation": (
        "top-1",
        "GT-known Loc",
        "Top-1 Loc",
        "MaxBoxAccV2",
        "PxAP",
        "mIoU",
        "pointing",
        "CorLoc",
        "mAP",
    ),
}

# Measured only on request.
_ASKED = ("insertion", "deletion", "average drop", "increase in confidence", "flip correlation", "flip box IoU")


def report_table(
    report: EvaluationReport, style: TableStyle = "markdown", *, every: bool = True, per_class: bool = True
) -> str:
    """A table of all metrics, and a second one by class, with aligned columns and numbers to 3 decimals.

    Without ``every``, only the five that matter most for the data (`key_metrics`) are listed; without ``per_class``,
    no classes. An interval holds 95 % of the values of resampled data sets. The baseline uses no information about the
    image: chance for classification, the image's centre for points, boxes and maps; a second one is the whole image as
    one box or mask. ``count`` is the number of trials, in the unit with which the note starts; † marks numbers measured
    on fewer than `FEW` images. In LaTeX the sentences above the tables are comments; in CSV they are left out.

    >>> classes = {"per_class": {"dog": 0.75}, "counts": {"dog": 40}}
    >>> pointing = Metric(name="pointing", value=0.75, baseline=0.5, note="pairs", images=40, **classes)
    >>> print(report_table(EvaluationReport(metrics=(pointing,), images=40, source="found.jsonl")))
    40 images of found.jsonl
    <BLANKLINE>
    | metric   | value | baseline | count | note  |
    | :------- | ----: | -------: | ----: | :---- |
    | pointing | 0.750 |    0.500 |    40 | pairs |
    <BLANKLINE>
    | class | pointing | count |
    | :---- | -------: | ----: |
    | dog   |    0.750 |    40 |
    """
    missing = f" ({report.missing} more are annotated, and have no predictions)" if report.missing else ""
    opening = f"{counted(report.images, 'image')} of {report.source}{missing}"
    opening = "\n\n".join([opening, *_facts(report)])
    if not report.metrics:
        return f"{opening}\n\nNothing to measure: no metric has annotations and predictions behind it."
    if style == "latex":
        opening = "\n".join(f"% {line}".rstrip() for line in opening.splitlines())
    shown = report.metrics if every else key_metrics(report)
    tables = [_summary(shown, style), *(_class_tables(report.metrics, style) if per_class else [])]
    if any(_few(metric) for metric in shown) and style != "csv":
        about = f"† fewer than {FEW} images are behind this number"
        tables.insert(1, f"% {about}" if style == "latex" else about)
    return "\n\n".join(tables if style == "csv" else [opening, *tables])


def key_metrics(report: EvaluationReport) -> tuple[Metric, ...]:
    """The five metrics that matter most for the data, of classes, points, boxes and masks, if they were measured.

    Metrics that are measured only on request, such as faithfulness, are included if they were measured.

    >>> metrics = [Metric(name=name, value=0.5) for name in ("mAP", "top-1", "CorLoc", "AP50", "COCO AP75")]
    >>> [metric.name for metric in key_metrics(EvaluationReport(metrics=metrics, images=9, source="x"))]
    ['mAP', 'top-1', 'CorLoc', 'AP50']
    """
    names = [metric.name.removesuffix(f" ({report.protocol})") for metric in report.metrics]
    wanted = [name for name in _KEY.get(report.protocol, _KEY["default"]) if name in names][:5]
    wanted += _ASKED
    return tuple(metric for metric, name in zip(report.metrics, names, strict=True) if name in wanted)


def _summary(metrics: Sequence[Metric], style: TableStyle) -> str:
    """One row per metric, with the columns that are not empty for all metrics."""
    plain = style == "csv"
    columns = [
        ["value", *(_number(metric.value) + (" †" if _few(metric) and not plain else "") for metric in metrics)],
        ["95 %", *(_range(metric.interval) for metric in metrics)],
        ["baseline", *(_number(metric.baseline) for metric in metrics)],
        ["baseline: whole image", *(_number(metric.whole_image) for metric in metrics)],
        ["count", *(str(metric.count) for metric in metrics)],
        ["images", *(str(metric.images) if plain and metric.images else "" for metric in metrics)],
    ]
    optional = ("95 %", "baseline: whole image", "images")
    columns = [column for column in columns if column[0] not in optional or any(column[1:])]
    names, notes = ["metric", *(metric.name for metric in metrics)], ["note", *(metric.note for metric in metrics)]
    header, *rows = [list(row) for row in zip(names, *columns, notes, strict=True)]
    return format_table(header, rows, (0, len(header) - 1), style)


def _few(metric: Metric) -> bool:
    return 0 < metric.images < FEW


def _facts(report: EvaluationReport) -> list[str]:
    """The origin of the boxes, what was tolerated in reading, and the run time."""
    facts = (
        [] if report.boxes is None else [f"Boxes: {report.boxes}. Protocol of maps: {report.protocol}{report.drawn}."]
    )
    if report.warnings:
        facts.append("\n".join(f"* {count} {kind}" for kind, count in report.warnings.items()))
    if report.failures:
        facts.append("Not found: " + ", ".join(f"{reason} {count}" for reason, count in report.failures.items()) + ".")
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.seconds.items())
    return [*facts, f"Run time: {times}."] if times else facts


def _class_tables(metrics: Sequence[Metric], style: TableStyle) -> list[str]:
    """One table for all metrics with the same counts, which share one column of counts."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for i, metric in enumerate(metrics):
        if metric.per_class:
            groups.setdefault(tuple(metric.counts.items()), []).append(i)
    tables = []
    for counts, members in groups.items():
        shared = [metrics[i] for i in members]
        rows = [
            [label, *(_number(metric.per_class.get(label)) for metric in shared), str(count)] for label, count in counts
        ]
        tables.append(format_table(["class", *(metric.name for metric in shared), "count"], rows, (0,), style))
    return tables


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"
