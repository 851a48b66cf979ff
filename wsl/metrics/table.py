"""An evaluation as tables: Markdown that also reads well as plain text, or what a paper or a spreadsheet takes."""

from __future__ import annotations

from collections.abc import Sequence

from wsl.metrics.table_styles import TableStyle, format_table
from wsl.results import EvaluationReport, Metric


def report_table(report: EvaluationReport, style: TableStyle = "markdown") -> str:
    """All metrics in one table, each class in a second one, columns aligned, numbers to 3 decimals.

    Where a metric has an interval, 95 % of the values of resampled data sets lie in it. The baseline is what knows
    nothing about the image: chance for classification, the image's centre for points, boxes and maps; beside it stands
    the whole image as one box or mask. ``count`` is what the number was measured on, in the unit that the note starts
    with. In LaTeX the sentences above the tables are comments, in CSV they are left out.

    >>> pointing = Metric(
    ...     name="pointing", value=0.75, per_class={"dog": 0.75}, counts={"dog": 4}, baseline=0.5, note="pairs"
    ... )
    >>> print(report_table(EvaluationReport(metrics=(pointing,), images=4, source="found.jsonl")))
    4 images of found.jsonl
    <BLANKLINE>
    | metric   | value | baseline | count | note  |
    | :------- | ----: | -------: | ----: | :---- |
    | pointing | 0.750 |    0.500 |     4 | pairs |
    <BLANKLINE>
    | class | pointing | count |
    | :---- | -------: | ----: |
    | dog   |    0.750 |     4 |
    """
    missing = f" ({report.missing} more are annotated, nothing was found for them)" if report.missing else ""
    opening = f"{report.images} images of {report.source}{missing}"
    opening = "\n\n".join([opening, *_facts(report)])
    if not report.metrics:
        return f"{opening}\n\nNothing to measure: no metric has annotations and predictions behind it."
    if style == "latex":
        opening = "\n".join(f"% {line}".rstrip() for line in opening.splitlines())
    tables = [_summary(report.metrics, style), *_class_tables(report, style)]
    return "\n\n".join(tables if style == "csv" else [opening, *tables])


def _summary(metrics: Sequence[Metric], style: TableStyle) -> str:
    """A row a metric, with the columns that some metric has something in."""
    columns = [
        ["value", *(_number(metric.value) for metric in metrics)],
        ["95 %", *(_range(metric.interval) for metric in metrics)],
        ["baseline", *(_number(metric.baseline) for metric in metrics)],
        ["whole image", *(_number(metric.whole_image) for metric in metrics)],
        ["count", *(str(metric.count) for metric in metrics)],
    ]
    optional = ("95 %", "whole image")
    columns = [column for column in columns if column[0] not in optional or any(column[1:])]
    names, notes = ["metric", *(metric.name for metric in metrics)], ["note", *(metric.note for metric in metrics)]
    header, *rows = [list(row) for row in zip(names, *columns, notes, strict=True)]
    return format_table(header, rows, (0, len(header) - 1), style)


def _facts(report: EvaluationReport) -> list[str]:
    """Where the boxes come from, what was tolerated in reading, and where the time went."""
    facts = [] if report.boxes is None else [f"Boxes: {report.boxes}. Protocol of maps: {report.protocol}."]
    if report.warnings:
        facts.append("\n".join(f"* {count} {kind}" for kind, count in report.warnings.items()))
    if report.failures:
        facts.append("Not found: " + ", ".join(f"{reason} {count}" for reason, count in report.failures.items()) + ".")
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in report.seconds.items())
    return [*facts, f"Run time: {times}."] if times else facts


def _class_tables(report: EvaluationReport, style: TableStyle) -> list[str]:
    """One table for the metrics that were measured on the same counts, so that one count column serves them all."""
    groups: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for i, metric in enumerate(report.metrics):
        if metric.per_class:
            groups.setdefault(tuple(metric.counts.items()), []).append(i)
    tables = []
    for counts, members in groups.items():
        metrics = [report.metrics[i] for i in members]
        rows = [
            [label, *(_number(metric.per_class.get(label)) for metric in metrics), str(count)]
            for label, count in counts
        ]
        tables.append(format_table(["class", *(metric.name for metric in metrics), "count"], rows, (0,), style))
    return tables


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"
