"""Comparisons as tables: each style is read back by what reads it."""

import csv
import io
import re

import pytest

from wsl.comparison import Agreement, ComparedRun, Comparison, Difference
from wsl.results import Metric
from wsl.tables import comparison_table


def metric(name, value, **more):
    return Metric(name=name, value=value, interval=(value - 0.1, value + 0.1), images=40, **more)


def compared(**more):
    values = {"a_b": (0.5, 0.25), "c & d": (0.75, None), "e": (0.7, 0.5)}
    runs = []
    for name, (first, second) in values.items():
        metrics = {"mAP": metric("mAP", first, baseline=0.125)}
        if second is not None:
            metrics["AP50"] = metric("AP50", second, baseline=second / 10)
        runs.append(ComparedRun(name=name, source=f"runs/{name}", metrics=metrics, boxes="boxes as given"))
    differences = [
        Difference(run="c & d", against="a_b", metric="mAP", value=0.25, interval=(0.2, 0.3)),
        Difference(run="e", against="a_b", metric="mAP", value=0.2, interval=(-0.01, 0.4)),
        Difference(run="e", against="c & d", metric="mAP", value=-0.05, interval=(-0.06, -0.04)),
        Difference(run="e", against="a_b", metric="AP50", value=0.25),
    ]
    settings = {"metrics": ["mAP", "AP50"], "baseline": "a_b", "images": 40, "split": "val", **more}
    return Comparison(runs=runs, differences=differences, **settings)


def latex_cells(text):
    """The rows of each tabular, as LaTeX would set them; every other line must be a comment."""
    tables, inside = [], False
    for line in text.splitlines():
        if line.startswith(r"\begin{tabular}"):
            tables.append([])
            inside = True
        elif line == r"\end{tabular}":
            inside = False
        elif not inside:
            assert not line or line.startswith("%")
        elif not line.startswith(("\\toprule", "\\midrule", "\\bottomrule")):
            assert line.endswith(r" \\")
            tables[-1].append([cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r" \\"))])
    return tables


def test_latex_is_two_tables_among_comments():
    values, differences = latex_cells(comparison_table(compared(), "latex"))
    assert values[0] == ["run", "mAP", "AP50"]
    assert [row[0] for row in values[1:]] == [r"a\_b", r"c \& d", "e", "centre, chance"]
    assert values[2] == [r"c \& d", r"\textbf{0.750 (0.650--0.850)}", ""]
    assert values[4] == ["centre, chance", "0.125", "0.025--0.050"]
    assert differences[1:] == [
        [r"c \& d", "+0.250 (+0.200 to +0.300)*", ""],
        ["e", r"+0.200 ($-$0.010 to +0.400)", "+0.250"],
    ]


def test_csv_has_a_row_a_run_and_metric_and_numbers_alone():
    rows = list(csv.DictReader(io.StringIO(comparison_table(compared(), "csv"))))
    assert [(row["run"], row["metric"]) for row in rows[:3]] == [("a_b", "mAP"), ("a_b", "AP50"), ("c & d", "mAP")]
    assert (rows[2]["difference_low"], rows[2]["against"], rows[2]["beyond_noise"]) == ("0.2", "a_b", "true")
    assert float(rows[4]["value"]) == 0.7
    assert rows[4]["beyond_noise"] == "false"
    assert (rows[3]["value"], rows[3]["difference"]) == ("", "")
    assert (rows[5]["difference"], rows[5]["difference_low"], rows[5]["beyond_noise"]) == ("0.25", "", "")


def test_markdown_says_what_was_compared_and_how_often():
    text = comparison_table(compared())
    assert "| **0.750 (0.650–0.850)** |" in text
    assert "- e: runs/e; boxes: boxes as given" in text
    assert "2 comparisons, not corrected" in text
    assert "†" not in text
    assert text.count("**") == 2


def test_another_baseline_turns_the_signs():
    text = comparison_table(compared(baseline="c & d"))
    assert "Differences to c & d:" in text
    assert "−0.250 (−0.300 to −0.200)*" in text
    assert "−0.050 (−0.060 to −0.040)*" in text


@pytest.mark.parametrize("style", ["markdown", "latex"])
def test_agreement_is_a_matrix(style):
    alike = Agreement(run="e", against="a_b", iou=0.5, boxes=4, correlation=-0.25, maps=2)
    text = comparison_table(compared(agreement=[alike]), style)
    minus = "$-$" if style == "latex" else "−"
    assert text.count(f"0.500, {minus}0.250") == 2
    assert "Pearson correlation" in text


def test_few_images_are_marked():
    runs = [
        ComparedRun(name=name, source=name, metrics={"mAP": Metric(name="mAP", value=1, images=4)}) for name in "ab"
    ]
    few = Comparison(runs=runs, metrics=["mAP"], differences=(), baseline="a", images=4, split="val")
    assert "mAP †" in comparison_table(few)
    assert "† fewer than 30 images" in comparison_table(few)
    assert "†" not in comparison_table(few, "csv")
