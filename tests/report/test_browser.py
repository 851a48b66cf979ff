"""The report in a real browser: what slider, filters and keys do, and that nothing leaves the page."""

import pytest

from wsl.maps import boxes_from_map


@pytest.fixture
def view(chromium, page):
    """The open page. Whatever it asks of any network, and whatever it complains of, fails the test."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    wrong = []
    tab.on("console", lambda message: wrong.append(message.text) if complaint(message) else None)
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: wrong.append(request.url) if not allowed(request.url, page) else None)
    tab.goto(page.as_uri())
    tab.wait_for_selector(".card img")
    yield tab
    context.close()
    assert wrong == []


def complaint(message):
    # That pixels are read back slowly is said to the tests below, the page reads none.
    return message.type in ("error", "warning") and "willReadFrequently" not in message.text


def allowed(url, page):
    return url == page.as_uri() or url.startswith(("data:", "blob:"))


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


def test_the_slider_s_boxes_are_python_s_at_every_step(view, world):
    for step in range(100):
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


def test_a_phone_s_width_needs_no_sideways_scrolling(view, artefacts):
    view.set_viewport_size({"width": 360, "height": 740})
    assert view.evaluate("document.documentElement.scrollWidth") <= 360
    view.screenshot(path=artefacts / "report-phone.png")


def test_pictures_out_of_sight_are_let_go(view):
    view.set_viewport_size({"width": 300, "height": 200})
    view.evaluate("document.body.style.paddingBottom = '5000px'; window.scrollTo(0, 5000)")
    view.wait_for_selector(".card img", state="detached")
    view.evaluate("window.scrollTo(0, 0)")
    view.wait_for_selector(".card img")
