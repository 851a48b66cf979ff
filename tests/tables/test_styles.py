"""Tables to paste: each style is read back by what reads it."""

import csv
import io

import pytest

from wsl.results import EvaluationReport, Metric
from wsl.tables import format_table, report_table

HEADER, ROWS = ["class", "AP"], [["cat & dog_1", "0.5"], ['50 % "big", {x}', "1.0"]]


def test_csv_is_read_back_as_it_was():
    assert list(csv.reader(io.StringIO(format_table(HEADER, ROWS, (0,), "csv")))) == [HEADER, *ROWS]


def test_latex_escapes_what_it_would_take_for_commands():
    lines = format_table(HEADER, ROWS, (0,), "latex").splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert lines[4] == r"cat \& dog\_1 & 0.5 \\"
    assert lines[5] == r"50 \% \"big\", \{x\} & 1.0 \\".replace(r"\"", '"')
    assert lines[-1] == r"\end{tabular}"


def test_a_cell_cannot_break_out_of_a_markdown_table():
    assert format_table(["a"], [["x|y\nz"]], (0,), "markdown").splitlines()[-1] == r"| x\|y z |"


@pytest.mark.parametrize(("style", "start"), [("markdown", "4 images"), ("latex", "% 4 images"), ("csv", "metric,")])
def test_a_report_comes_in_every_style(style, start):
    metric = Metric(name="mAP", value=0.5, per_class={"dog": 0.5}, counts={"dog": 4}, interval=(0.25, 0.75))
    text = report_table(EvaluationReport(metrics=(metric,), images=4, source="a.jsonl"), style)
    assert text.startswith(start)
    assert text.count("0.500") == 2
    assert ("0.250--0.750" if style == "latex" else "0.250–0.750") in text
