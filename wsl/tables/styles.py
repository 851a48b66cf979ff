"""Tables as Markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Collection, Sequence
from typing import Literal

TableStyle = Literal["markdown", "latex", "csv"]

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "†": r"\dag{}",
    "−": "$-$",
}
_BOLD = {"markdown": "**{}**", "latex": r"\textbf{{{}}}", "csv": "{}"}


def format_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: Sequence[int],
    style: TableStyle,
    *,
    bold: Collection[tuple[int, int]] = (),
) -> str:
    """A table as text; the columns whose indices are in ``left`` are left-aligned, the others right-aligned.

    LaTeX is a ``tabular`` with the rules of the booktabs package. The cells of ``rows`` whose (row, column) are in
    ``bold`` are bold if the style supports it.

    >>> print(format_table(["metric", "value"], [["mAP", "0.9"]], (0,), "markdown"))
    | metric | value |
    | :----- | ----: |
    | mAP    |   0.9 |
    """
    escapes: dict[str, Callable[[str], str]] = {"markdown": _markdown_text, "latex": _latex_text, "csv": str}
    escape = escapes[style]
    lay_out = {"markdown": _markdown, "latex": _latex, "csv": _csv}[style]
    cells = [
        [
            _BOLD[style].format(escape(text)) if (i, j) in bold else escape(text)
            for j, text in enumerate(cell.replace("\n", " ") for cell in row)
        ]
        for i, row in enumerate(rows)
    ]
    return lay_out([escape(cell) for cell in header], cells, left)


def _markdown_text(text: str) -> str:
    return text.replace("|", r"\|")


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    cells = [header, *rows]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in cells
    ]
    rule = [":" + "-" * (width - 1) if i in left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (aligned[0], rule, *aligned[1:]))


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    columns = "".join("l" if i in left else "r" for i in range(len(header)))
    lines = [" & ".join(row) + r" \\" for row in (header, *rows)]
    top, bottom = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"], [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*top, lines[0], r"\midrule", *lines[1:], *bottom])


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")
