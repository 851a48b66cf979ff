"""The figure of a comparison: vector graphics with whole names, the same twice."""

import re
import zlib
from xml.etree import ElementTree

import pytest

from wsl.comparison import ComparedRun, Comparison
from wsl.draw import plot_comparison
from wsl.results import Metric

NAMES = ("gap", "timm/vit_small_patch14_reg4_dinov2", "a$b_{c & d", "lse")
METRICS = ("mAP", "pointing", "CorLoc", "AP50", "MaxBoxAccV2@0.5 (wsolevaluation)")


def compared(names=NAMES, metrics=METRICS):
    runs = [
        ComparedRun(
            name=name,
            source=name,
            metrics={
                one: Metric(name=one, value=0.5 + i / 10, interval=(0.45 + i / 10, 0.6 + i / 10), baseline=0.01 * j)
                for j, one in enumerate(metrics)
                if (i, j) != (1, 1)
            },
        )
        for i, name in enumerate(names)
    ]
    return Comparison(runs=runs, metrics=metrics, differences=(), baseline=names[0], images=40, split="val")


def texts(path):
    """The texts of an SVG file."""
    root = ElementTree.parse(path).getroot()  # noqa: S314  # our own file
    return ["".join(one.itertext()).strip() for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_svg_has_every_metric_and_name_as_text(tmp_path):
    plot_comparison(tmp_path / "a.svg", compared(), "svg")
    told = "".join(texts(tmp_path / "a.svg")).replace(" ", "")
    for word in (*NAMES, *METRICS):
        assert word.replace(" ", "") in told


def test_names_lie_within_the_figure(tmp_path):
    plot_comparison(tmp_path / "a.svg", compared(("n" * 60, "o")), "svg")
    root = ElementTree.parse(tmp_path / "a.svg").getroot()  # noqa: S314
    width = float(root.get("viewBox").split()[2])
    assert width == pytest.approx(3.3 * 72, abs=0.5)
    places = re.findall(r"translate\(([-\d.]+) ", (tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert places
    assert all(0 <= float(x) <= width for x in places)


def test_pdf_embeds_truetype_fonts(tmp_path):
    plot_comparison(tmp_path / "a.pdf", compared())
    content = (tmp_path / "a.pdf").read_bytes()
    packed = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
    unpacked = b"".join(zlib.decompress(one) for one in packed if one[:1] == b"x")
    assert b"/Type3" not in content + unpacked
    assert b"/FontFile2" in content + unpacked


@pytest.mark.parametrize("file_format", ["pdf", "svg"])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.quick("count, file_format", [(2, "pdf"), (1, "svg")])
def test_two_figures_of_one_comparison_are_the_same_file(tmp_path, file_format, count):
    both = compared(metrics=METRICS[:count])
    for name in ("a", "b"):
        plot_comparison(tmp_path / name, both, file_format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
