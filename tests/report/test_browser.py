"""The report in a real browser: what slider, filters and keys do, and that nothing leaves the page."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from wsl.config import BoxConfig
from wsl.formats.review import read_review
from wsl.maps import boxes_from_map
from wsl.report import Head, write_report
from wsl.report.items import encode_picture, gallery_item


@pytest.fixture
def view(open_page, page):
    return open_page(page)


def slide(view, step, slider="#threshold"):
    view.eval_on_selector(
        slider, "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')) }", step
    )


def predicted(view, card):
    """The boxes on a card as the browser draws them, xyxy."""
    return view.eval_on_selector_all(
        f"#gallery .card:nth-child({card + 1}) svg rect.predicted",
        "all => all.map(r => ['x', 'y', 'width', 'height'].map(k => Number(r.getAttribute(k))))"
        ".map(([x, y, w, h]) => [x, y, x + w, y + h])",
    )


def names(view):
    return view.eval_on_selector_all("#gallery .card .title", "all => all.map(e => e.textContent)")


@pytest.mark.parametrize("every", [19, 1])
@pytest.mark.quick("every", [19])
def test_the_slider_s_boxes_are_python_s(view, world, every):
    for step in range(0, 100, every):
        slide(view, step)
        assert view.inner_text(".controls .threshold-shown") == f"{step / 100:.2f}"
        for card, (found, _) in enumerate(world[:3]):
            label = max(found.scores, key=found.scores.get)
            expected = boxes_from_map(found.maps[label], threshold=step / 100, size=found.size).xyxy
            assert predicted(view, card) == [pytest.approx(row, abs=0.006) for row in expected.tolist()]


def test_it_opens_at_the_threshold_of_the_run(view, world):
    found = world[0][0]
    assert predicted(view, 0) == [pytest.approx(row, abs=0.006) for row in found.boxes.of("dog").xyxy.tolist()]


def test_the_heatmap_follows_slider_opacity_and_class(view):
    ink = (
        "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.reduce((a, b) => a + b)"
    )
    first = view.eval_on_selector(".card canvas", ink)
    slide(view, 80)
    cut = view.eval_on_selector(".card canvas", ink)
    assert 0 < cut < first
    view.click(".card .chip:nth-child(2)")
    assert view.get_attribute(".card .chip:nth-child(2)", "aria-pressed") == "true"
    assert view.eval_on_selector(".card canvas", ink) != cut
    view.keyboard.press("h")
    assert view.eval_on_selector(".card canvas", ink) == 0


def test_filters_and_sorting_count_right(view, world):
    assert view.inner_text("#count") == "6 of 6 images"
    view.select_option("#outcome", "right")
    assert view.inner_text("#count") == "3 of 6 images"
    assert view.locator(".verdict .right").count() == 3
    view.select_option("#outcome", "")
    view.fill("#name", "QUOTE")
    assert names(view) == ["bird & 'quote'.png"]
    view.fill("#name", "")
    view.select_option("#class", "cat")
    view.select_option("#sort", "score-up")
    assert names(view) == [found.path.name for found, _ in world]
    view.select_option("#sort", "score-down")
    assert names(view) == [found.path.name for found, _ in reversed(world)]


def test_names_are_text_and_never_markup(view):
    assert names(view)[0] == "a <!--<script><b>.png"
    assert view.inner_text("h1") == "Six <images>"
    assert "</script><gap>" in view.inner_text(".facts")
    assert view.locator("main b, h1 b, td b").count() == 0


def test_the_keyboard_walks_enlarges_and_slides(view, artefacts):
    view.keyboard.press("ArrowRight")
    view.keyboard.press("ArrowRight")
    view.keyboard.press("Enter")
    assert view.inner_text("#viewer-name") == "bird & 'quote'.png"
    view.keyboard.press("ArrowRight")
    assert view.inner_text("#viewer-name") == "c.png"
    before = view.inner_text("#viewer .threshold-shown")
    view.keyboard.press(".")
    assert float(view.inner_text("#viewer .threshold-shown")) == pytest.approx(float(before) + 0.01)
    assert view.locator("#viewer svg rect.true").count() == 1
    view.keyboard.press("t")
    assert view.locator("#viewer svg rect.true").count() == 0
    slide(view, 95, "#viewer .threshold")
    assert view.locator("#viewer svg rect.predicted").count() == 1
    view.screenshot(path=artefacts / "report-viewer.png")
    view.keyboard.press("Escape")
    assert not view.is_visible("#viewer")
    view.keyboard.press("d")
    assert view.get_attribute("html", "data-theme") == "dark"
    view.screenshot(path=artefacts / "report-dark.png")


def test_what_the_keys_focus_is_not_below_the_controls(view):
    view.evaluate("document.getElementById('gallery').style.maxWidth = '300px'")  # a column
    for key in ["ArrowRight"] * 6 + ["ArrowLeft"] * 4:
        view.keyboard.press(key)
    top, bottom = (view.locator(one).bounding_box() for one in (":focus", ".controls"))
    assert top["y"] >= bottom["y"] + bottom["height"]


def test_paper_is_white_whole_and_explained(view):
    view.keyboard.press("d")
    assert view.get_attribute("html", "data-theme") == "dark"
    view.set_viewport_size({"width": 718, "height": 1000})  # A4 within Chromium's margins
    view.emulate_media(media="print")
    colours = view.eval_on_selector("body", "body => [getComputedStyle(body).color, getComputedStyle(body).background]")
    assert (colours[0], colours[1][:18]) == ("rgb(0, 0, 0)", "rgb(255, 255, 255)")
    assert view.eval_on_selector(".scroll", "table => table.scrollWidth <= table.clientWidth")
    shown = [view.is_visible(one) for one in (".legend", "#count", "#class", "#threshold", ".marks")]
    assert shown == [True, True, False, False, False]


@pytest.mark.long
def test_a_phone_s_width_needs_no_sideways_scrolling(view, artefacts):
    view.set_viewport_size({"width": 360, "height": 740})
    assert view.evaluate("document.documentElement.scrollWidth") <= 360
    view.screenshot(path=artefacts / "report-phone.png")


@pytest.mark.long
def test_pictures_out_of_sight_are_let_go(view):
    view.set_viewport_size({"width": 300, "height": 200})
    view.evaluate("document.body.style.paddingBottom = '5000px'; window.scrollTo(0, 5000)")
    view.wait_for_selector(".card img", state="detached")
    view.evaluate("document.getElementById('gallery').scrollIntoView()")
    view.wait_for_selector(".card img")


def test_pictures_fill_their_cards_also_when_they_come_into_sight_later(view):
    view.set_viewport_size({"width": 700, "height": 300})
    view.evaluate("document.getElementById('gallery').scrollIntoView(false)")
    view.wait_for_selector(".card:last-child img")
    sizes = view.evaluate(
        "[...document.querySelectorAll('.stage')].filter((stage) => stage.firstChild).map((stage) => {"
        " const [a, b] = [stage, stage.firstChild].map((one) => one.getBoundingClientRect());"
        " return [a.width, a.height, b.width, b.height]; })"
    )
    for width, height, inner_width, inner_height in sizes:
        assert (inner_width, inner_height) == (pytest.approx(width, abs=1), pytest.approx(height, abs=1))


def saved(view, folder: Path) -> Path:
    with view.expect_download() as download:
        view.click("#save")
    assert download.value.suggested_filename == "reviewed.json"
    file = folder / "reviewed.json"
    download.value.save_as(file)
    return file


def test_marks_are_saved_with_the_boxes_that_were_looked_at(view, world, tmp_path):
    assert view.is_disabled("#save")
    cards = "#gallery .card:nth-child"
    view.click(f"{cards}(1) .mark.accept")
    view.focus(f"{cards}(2)")
    for key in "rca":  # reject the best class, accept the other one
        view.keyboard.press(key)
    view.focus(f"{cards}(3)")
    for key in "aa":  # taken back
        view.keyboard.press(key)
    assert view.inner_text("#save") == "Save 3 marks"
    review = read_review(saved(view, tmp_path))
    first, second = world[0][0], world[1][0]
    assert (dict(review.of(first.path)), dict(review.of(second.path))) == ({"dog": True}, {"dog": False, "cat": True})
    assert review.of(world[2][0].path) == {}
    assert review.boxes == BoxConfig(threshold=0.3).resolved()
    slide(view, 45)
    assert read_review(saved(view, tmp_path)).boxes == BoxConfig(threshold=0.45).resolved()
    view.select_option("#marked", "reject")
    assert names(view) == [second.path.name]
    view.reload()
    assert view.inner_text("#save") == "Save 3 marks"  # the browser keeps them
    view.keyboard.press("?")
    assert "wsl-export --reviewed" in view.inner_text("#keys")


def test_marks_without_maps_and_annotations_say_nothing_of_boxes_and_truth(view, chromium, world, tmp_path):
    found = dataclasses.replace(world[0][0], maps=None)
    item = gallery_item(found, None, BoxConfig())
    head = Head(title="boxes", boxes=BoxConfig().resolved())
    path = write_report([(item, encode_picture(np.zeros((4, 4, 3), np.uint8), 4, 70))], head, tmp_path).pages[0]
    tab = chromium.new_page()
    tab.goto(path.as_uri())
    assert view.is_visible("#outcome")
    assert not tab.is_visible("#outcome")
    assert ("ground truth" in view.inner_text(".legend"), "ground truth" in tab.inner_text(".legend")) == (True, False)
    tab.click(".card .mark.reject")
    document = json.loads(saved(tab, tmp_path).read_text(encoding="utf-8"))
    tab.close()
    assert document["boxes"] == {}
    assert [mark["mark"] for mark in document["marks"]] == ["reject"]
