"""A report of a small world."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.config import BoxConfig
from wsl.maps import boxes_from_map, peak
from wsl.report import Head, write_report
from wsl.report.items import encode_picture, gallery_item
from wsl.results import Localization
from wsl.samples import Sample

NAMES = ("a <!--<script><b>.png", "bird & 'quote'.png", "c.png", "猫.png", "e.png", "f.png")
CLASSES = ("cat", "dog")
THRESHOLD = 0.3


def smooth_map(seed):
    noise = np.random.default_rng(seed).random((9, 7)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 1.2)


@pytest.fixture(scope="session")
def world():
    """Localizations with maps of two classes and annotations: some right, some wrong."""
    pairs = []
    for seed, name in enumerate(NAMES):
        size = (90 + 10 * seed, 120)
        maps = {label: smooth_map(10 * seed + i) for i, label in enumerate(CLASSES)}
        boxes = [boxes_from_map(m, threshold=THRESHOLD, size=size, label=label) for label, m in maps.items()]
        points = {label: peak(score_map, size) for label, score_map in maps.items()}
        scores = {"cat": 0.08 * seed, "dog": 0.5}
        found = Localization(
            path=f"photos/{name}", size=size, scores=scores, boxes=Boxes.concatenate(boxes), points=points, maps=maps
        )
        there = boxes[1] if seed % 2 else Boxes(xyxy=[[0, 0, 12, 12]], labels=["dog"])
        sample = Sample(path=f"photos/{name}", labels=["dog"], boxes=there, size=size)
        pairs.append((found, sample))
    return pairs


@pytest.fixture(scope="session")
def page(world, tmp_path_factory):
    """The report's file."""
    out = tmp_path_factory.mktemp("report")
    grey = np.full((40, 30, 3), 90, np.uint8)
    items = ((gallery_item(found, sample, BoxConfig()), encode_picture(grey, 400, 60)) for found, sample in world)
    metric = {"value": 0.5, "interval": [0.25, 0.75], "baseline": None, "count": 6, "note": "pairs <b>"}
    head = Head(
        title="Six <images>",
        boxes=BoxConfig(threshold=THRESHOLD).resolved(),
        facts={"model": "</script><gap>"},
        metrics={"CorLoc": metric},
    )
    return write_report(items, head, out).pages[0]


@pytest.fixture
def open_page(chromium):
    """Opens a report. Whatever it asks of any network, and whatever it complains of, fails the test."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    wrong = []

    def opened(page):
        tab = context.new_page()
        tab.on("console", lambda message: wrong.append(message.text) if complaint(message) else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: wrong.append(request.url) if not allowed(request.url, page) else None)
        tab.goto(page.as_uri())
        tab.wait_for_selector(".card img")
        return tab

    yield opened
    context.close()
    assert wrong == []


def complaint(message):
    # That pixels are read back slowly is said to the tests, the page reads none.
    return message.type in ("error", "warning") and "willReadFrequently" not in message.text


def allowed(url, page):
    return url == page.as_uri() or url.startswith(("data:", "blob:"))


@pytest.fixture
def artefacts(tmp_path) -> Path:
    """Where screenshots are kept: WSL_ARTEFACTS, or the test's own folder."""
    folder = Path(os.environ.get("WSL_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
