"""Pages: several above a budget, one of them in memory, each whole."""

import json
import re

import numpy as np

from wsl.config import BoxConfig
from wsl.maps import boxes_from_map, non_max_suppression
from wsl.report import Head, write_report
from wsl.report.items import gallery_item
from wsl.report.steps import STEPS, boxes_by_step

HEAD = Head(title="t", boxes=BoxConfig().resolved())


def items_of(page):
    text = re.search(r'id="items">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1]
    return json.loads(text)


def test_a_page_is_full_by_number_or_by_bytes(tmp_path):
    items = [({"name": str(i), "classes": []}, "x" * 1000) for i in range(10)]
    by_number = write_report(iter(items), HEAD, tmp_path, max_items=4)
    assert [path.name for path in by_number.pages] == ["report.html", "report-2.html", "report-3.html"]
    assert [item["name"] for page in by_number.pages for item in items_of(page)] == [str(i) for i in range(10)]
    by_bytes = write_report(iter(items), HEAD, tmp_path, max_bytes=5500)
    assert [len(items_of(page)) for page in by_bytes.pages] == [5, 5]
    assert not (tmp_path / "report-3.html").exists()
    first, last = (page.read_text(encoding="utf-8") for page in by_bytes.pages)
    assert 'rel="next" href="report-2.html"' in first
    assert 'rel="prev"' not in first
    assert 'rel="prev" href="report.html"' in last
    assert 'rel="next"' not in last


def test_one_page_of_items_is_in_memory(tmp_path):
    taken = written = 0

    def items():
        nonlocal taken, written
        for i in range(50):
            written = len(list(tmp_path.glob("report*.html")))
            assert taken - 10 * written <= 20
            taken += 1
            yield {"name": str(i), "classes": []}, ""

    assert len(write_report(items(), HEAD, tmp_path, max_items=10).pages) == 5


def test_no_image_is_a_page_too(tmp_path):
    (page,) = write_report(iter([]), HEAD, tmp_path).pages
    assert items_of(page) == []


def test_the_page_fetches_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:|report|")', text)
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text


def test_outcomes_say_why(world):
    entries = [
        {entry["label"]: entry for entry in gallery_item(found, sample, BoxConfig())["classes"]}
        for found, sample in world
    ]
    assert [entry["dog"]["outcome"] for entry in entries][1::2] == ["right"] * 3
    assert "right" not in [entry["dog"]["outcome"] for entry in entries][0::2]
    assert {entry["cat"]["outcome"] for entry in entries} == {"not in the image"}
    unknown = gallery_item(world[0][0], None, BoxConfig())
    assert {entry["outcome"] for entry in unknown["classes"]} == {None}


def test_the_steps_of_every_rule_are_boxes_from_map(world):
    settings = {"min_area": 0.01, "nms_iou": 0.5}
    for found, _ in world[:3]:
        score_map = found.maps["dog"]
        for rule in ("largest", "peak", "all"):
            runs = boxes_by_step(score_map, found.size, rule, **settings)
            assert runs[0][0] == 0
            for step in range(STEPS):
                (shown,) = [boxes for first, boxes in runs if first <= step][-1:]
                expected = boxes_from_map(
                    score_map, threshold=step / STEPS, rule=rule, size=found.size, min_area=settings["min_area"]
                )
                kept = non_max_suppression(expected, settings["nms_iou"]).xyxy
                np.testing.assert_allclose(np.reshape(shown, (-1, 4)), kept, atol=0.006)
