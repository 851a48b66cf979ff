"""Figures hold what they were given, under any name, and come out the same twice."""

import numpy as np
import pytest
from PIL import Image

from wsl.draw import plot_classes, plot_curves, plot_overlaps
from wsl.results import Metric


def read(path):
    with Image.open(path) as image:
        return np.array(image.convert("RGB")).astype(int)


def ink(path):
    """Pixels that are neither white nor grey."""
    picture = read(path)
    return (picture.max(axis=-1) - picture.min(axis=-1) > 60).sum()


def test_more_curves_more_ink(tmp_path):
    x = np.linspace(0, 1, 50)
    plot_curves(tmp_path / "none.png", {}, x="threshold", y="accuracy", marks={"given: 0.2": 0.2})
    plot_curves(tmp_path / "one.png", {"IoU 0.5": (x, x)}, x="threshold", y="accuracy")
    plot_curves(tmp_path / "two.png", {"IoU 0.5": (x, x), "$0.7_{": (x, x**2)}, x="threshold", y="accuracy")
    assert ink(tmp_path / "none.png") == 0 < ink(tmp_path / "one.png") < ink(tmp_path / "two.png")


def test_curves_that_coincide_are_both_seen(tmp_path):
    """matplotlib's first two colours, blue and orange."""
    curve = ([0, 1], [0, 0.5])
    plot_curves(tmp_path / "a.png", {"a": curve, "b": curve}, x="threshold", y="accuracy")
    drawn = read(tmp_path / "a.png")
    drawn = drawn[len(drawn) // 2 :]
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (abs(drawn - colour).max(axis=-1) < 10).sum() > 300


@pytest.mark.parametrize(("overlaps", "green", "grey"), [([0.6] * 4, True, False), ([0.1] * 4, False, True)])
def test_right_boxes_are_green(tmp_path, overlaps, green, grey):
    plot_overlaps(tmp_path / "a.png", overlaps)
    picture = read(tmp_path / "a.png")[60:-60, 90:]
    shown = {
        tuple(color): (np.abs(picture - color).max(axis=-1) < 3).sum() for color in ((43, 138, 62), (134, 142, 150))
    }
    assert (shown[(43, 138, 62)] > 2000) == green
    assert (shown[(134, 142, 150)] > 2000) == grey


def test_no_overlap_at_all_still_gives_a_figure(tmp_path):
    plot_overlaps(tmp_path / "a.png", [])
    assert ink(tmp_path / "a.png") < 2000


def test_classes_of_any_name_and_number(tmp_path):
    many = {f"class {i} $x_{{": i / 300 for i in range(300)}
    plot_classes(tmp_path / "a.png", [Metric(name="a|$b", value=0.5, per_class=many), Metric(name="none", value=0.1)])
    assert ink(tmp_path / "a.png") > 10_000
    plot_classes(tmp_path / "b.png", [Metric(name="none", value=0.1)])
    assert not (tmp_path / "b.png").exists()


def test_a_figure_comes_out_the_same_twice(tmp_path):
    for name in "ab":
        plot_overlaps(tmp_path / f"{name}.png", [0.1, 0.7, 0.9])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
