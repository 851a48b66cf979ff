"""Two runs side by side: what a pair's item says, and what the page does with it in a real browser."""

import dataclasses
import itertools
import json
import re

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.config import BoxConfig
from wsl.formats.review import read_review
from wsl.maps import boxes_from_map, peak
from wsl.report import Head, write_report
from wsl.report.items import encode_picture, gallery_item, gallery_pair
from wsl.results import Localization

THRESHOLDS = (0.3, 0.5)
RULES = [BoxConfig(threshold=threshold) for threshold in THRESHOLDS]


@pytest.fixture(scope="session")
def pairs(world):
    """The world's images but the last, as a second run sees those but the first, and one that only it has.

    The second run localizes dogs alone, with maps of its own for two images; cats it scores in some images. Its boxes
    are wrong, right, right and wrong in the images of both.
    """
    found = []
    for number, (first, sample) in enumerate(world):
        score_map = first.maps["cat" if number in (1, 2) else "dog"]
        x0, y0, x1, y1 = sample.boxes.xyxy[0]
        box = {1: [x0, y0, x0 + 5, y0 + 5], 3: [x0, y0, x1, y1 - 0.2 * (y1 - y0)], 4: [8, 0, 20, 12]}
        scores = {"dog": 0.9 - 0.1 * number, **({"cat": 0.05} if number % 2 else {})}
        second = Localization(
            path=first.path,
            size=first.size,
            scores=scores,
            boxes=Boxes(xyxy=[box.get(number, [x0, y0, x1, y1])], labels=["dog"]),
            points={"dog": peak(score_map, first.size)},
            maps={"dog": score_map},
        )
        last = number == len(world) - 1
        found.append(((None if last else first, None if number == 0 else second), sample))
    return found


@pytest.fixture(scope="session")
def items(pairs):
    return [gallery_pair(pair, sample, RULES) for pair, sample in pairs]


@pytest.fixture(scope="session")
def page(items, tmp_path_factory):
    picture = encode_picture(np.full((40, 30, 3), 90, np.uint8), 400, 60)
    heads = [
        Head(title="What a and b find", boxes=rule.resolved(), name=name, metrics={"CorLoc": metric(value)})
        for name, rule, value in zip(("a<i>", "b"), RULES, (0.75, 0.5), strict=True)
    ]
    head = dataclasses.replace(heads[0], against=heads[1], differences={"CorLoc": 0.25})
    return write_report(((item, picture) for item in items), head, tmp_path_factory.mktemp("pairs")).pages[0]


def metric(value):
    return {"value": value, "interval": None, "baseline": None, "count": 6, "note": ""}


def entry(item, run, label):
    view = item["views"][run]
    return next((one for one in view["classes"] if one["label"] == label), None) if view else None


def test_a_pair_has_the_entries_of_both_runs(items, pairs):
    (first, second), sample = pairs[1]
    for run, (found, rule) in enumerate(((first, RULES[0]), (second, RULES[1]))):
        own = gallery_item(found, sample, rule)
        assert items[1]["truths"] == own["truths"]
        for one in own["classes"]:
            assert entry(items[1], run, one["label"]) == {**one, "localized": True}


def test_a_run_without_the_image_or_the_class_is_told_from_one_that_found_nothing(items):
    assert [view is None for view in items[0]["views"]] == [False, True]
    assert [view is None for view in items[-1]["views"]] == [True, False]
    scored = entry(items[1], 1, "cat")
    assert (scored["localized"], scored["score"], scored["outcome"], scored["boxes"]) == (False, 0.05, None, [])
    assert entry(items[2], 1, "cat") is None


def test_an_annotated_class_that_a_run_does_not_know_has_no_score(pairs):
    (first, _), sample = pairs[1]
    stranger = Localization(path=first.path, size=first.size, scores={"bird": 0.5}, boxes=Boxes.empty())
    unknown = entry(gallery_pair((first, stranger), sample, RULES), 1, "dog")
    assert (unknown["score"], unknown["localized"], unknown["outcome"]) == (None, False, "wrong class")


def test_pages_of_pairs_stay_within_their_size(items, tmp_path):
    head = Head(title="t", boxes=RULES[0].resolved(), name="a")
    head = dataclasses.replace(head, against=dataclasses.replace(head, name="b"))
    sizes = [len(json.dumps(item)) for item in items]
    pages = write_report(((item, "") for item in items), head, tmp_path, max_bytes=2 * max(sizes)).pages
    assert len(pages) > 1
    shown = []
    for path in pages:
        text = re.search(r'id="items">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)[1]
        assert len(text) <= 2 * max(sizes)
        shown += [item["name"] for item in json.loads(text)]
    assert shown == [item["name"] for item in items]


@pytest.fixture
def view(open_page, page):
    return open_page(page)


def names(view):
    return view.eval_on_selector_all("#gallery .card .title", "all => all.map(e => e.textContent)")


def predicted(view, card, run):
    return view.eval_on_selector_all(
        f"#gallery .card:nth-child({card + 1}) .view:nth-child({run + 1}) svg rect.predicted",
        "all => all.map(r => ['x', 'y', 'width', 'height'].map(k => Number(r.getAttribute(k))))"
        ".map(([x, y, w, h]) => [x, y, x + w, y + h])",
    )


def texts(view, card, selector):
    return view.eval_on_selector_all(
        f"#gallery .card:nth-child({card + 1}) {selector}", "all => all.map(e => e.textContent)"
    )


def slide(view, step):
    view.eval_on_selector(
        "#threshold", "(slider, step) => { slider.value = step; slider.dispatchEvent(new Event('input')) }", step
    )


def test_one_slider_moves_both_runs_which_begin_at_their_own_thresholds(view, pairs):
    def check(thresholds):
        for card in (1, 2, 3):
            for run, found in enumerate(pairs[card][0]):
                label = view.inner_text(f"#gallery .card:nth-child({card + 1}) .chip[aria-pressed=true]")
                if label not in found.maps:
                    assert predicted(view, card, run) == []
                    continue
                boxes = boxes_from_map(found.maps[label], threshold=thresholds[run], size=found.size).xyxy
                assert predicted(view, card, run) == [pytest.approx(row, abs=0.006) for row in boxes.tolist()]

    assert view.inner_text(".controls .threshold-shown") == "0.30 / 0.50"
    check(THRESHOLDS)
    slide(view, 62)
    assert view.inner_text(".controls .threshold-shown") == "0.62"
    check((0.62, 0.62))
    view.click("#own")
    check(THRESHOLDS)


def test_what_a_run_lacks_is_said(view):
    assert texts(view, 1, ".run") == ["a<i>", "b"]
    assert texts(view, 0, ".verdict")[1] == "image not in b"
    assert texts(view, 5, ".verdict")[0] == "image not in a<i>"
    for card, said in ((1, "0.05 · not localized"), (2, "class not in the scores of b")):
        view.click(f"#gallery .card:nth-child({card + 1}) .chip:has-text('cat')")
        assert texts(view, card, ".verdict")[1] == said
    assert view.locator(".metrics td").all_inner_texts()[:5] == ["0.750", "", "0.500", "", "+0.250"]
    assert view.locator("main i, h1 i, th i, option i").count() == 0


def test_outcomes_that_differ_can_be_looked_for(view, items):
    verdicts = {"first": [], "second": [], "both": [], "neither": []}
    for item in items[1:-1]:
        right = tuple(entry(item, run, "dog")["outcome"] == "right" for run in (0, 1))
        kind = {(True, False): "first", (False, True): "second", (True, True): "both", (False, False): "neither"}[right]
        verdicts[kind].append(item["name"])
    assert [len(of_kind) for of_kind in verdicts.values()] == [1, 1, 1, 1]
    for kind, expected in (*verdicts.items(), ("not-second", [items[0]["name"]]), ("not-first", [items[-1]["name"]])):
        view.select_option("#agreement", kind)
        assert names(view) == expected, kind
    view.select_option("#agreement", "differ")
    assert sorted(names(view)) == sorted(verdicts["first"] + verdicts["second"])


def test_images_are_sorted_by_the_difference_of_the_runs(view, items):
    view.select_option("#class", "dog")
    for key, direction in itertools.product(("iou", "score"), ("down", "up")):
        differences = {item["name"]: entry(item, 0, "dog")[key] - entry(item, 1, "dog")[key] for item in items[1:-1]}
        assert len(set(differences.values())) > 2
        view.select_option("#sort", f"{key}_difference-{direction}")
        *ordered, one, other = names(view)
        assert [differences[name] for name in ordered] == sorted(differences.values(), reverse=direction == "down")
        assert {one, other} == {items[0]["name"], items[-1]["name"]}  # which have no difference


def test_marks_belong_to_the_first_run(view, items, tmp_path):
    marks = view.locator("#gallery .card .view:nth-child(1) .mark.accept")
    assert (marks.count(), view.locator("#gallery .mark.accept").count()) == (5, 5)
    assert marks.first.get_attribute("title") == "accept the boxes of dog of a<i>"
    view.focus("#gallery .card:nth-child(6)")
    view.keyboard.press("a")  # an image that only the second run has
    assert view.is_disabled("#save")
    marks.nth(2).click()
    slide(view, 45)
    with view.expect_download() as download:
        view.click("#save")
    download.value.save_as(tmp_path / "reviewed.json")
    review = read_review(tmp_path / "reviewed.json")
    assert list(review.marks) == [items[2]["path"]]
    assert review.boxes == BoxConfig(threshold=0.45).resolved()
    assert "marks belong to a<i>" in view.inner_text(".legend")


@pytest.mark.long
def test_a_phone_stacks_the_pair(view, artefacts):
    def rectangles(selector):
        return view.eval_on_selector_all(
            f"{selector} .stage",
            "all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right, r.top, r.bottom])",
        )

    (left, right) = rectangles("#gallery .card:nth-child(2)")
    assert left[1] <= right[0]
    assert left[2:] == pytest.approx(right[2:], abs=0.1)
    view.set_viewport_size({"width": 390, "height": 844})
    (upper, lower) = rectangles("#gallery .card:nth-child(2)")
    assert upper[:2] == pytest.approx(lower[:2], abs=0.1)
    assert upper[3] <= lower[2]
    assert view.evaluate("document.documentElement.scrollWidth") <= 390
    view.screenshot(path=artefacts / "report-pair-phone.png")
    view.click("#gallery .card:nth-child(2) .stage")
    (upper, lower) = rectangles("#viewer")
    assert upper[3] <= lower[2]
