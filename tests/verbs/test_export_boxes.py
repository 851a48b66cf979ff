"""Boxes drawn anew by an export, and what a person accepted or rejected in a report."""

import json
from pathlib import Path

import numpy as np
import pytest

from wsl import cli
from wsl.boxes import Boxes
from wsl.config import BoxConfig, ExportConfig
from wsl.errors import UserError
from wsl.files import write_text
from wsl.formats import LocalizationWriter, MapStore, read_localizations
from wsl.formats.review import read_review
from wsl.inference import boxes_of_maps
from wsl.results import Localization
from wsl.verbs.export import export

DRAWN = BoxConfig(threshold=0.3).resolved()
TWO_SPOTS = np.float32([[1, 0.5, 0, 0], [0.5, 0, 0, 0.8], [0, 0, 0.5, 0.9]])


@pytest.fixture
def found(tmp_path):
    """Localizations with maps of two classes, whose boxes are drawn by DRAWN."""
    store = MapStore(tmp_path / "found")
    scores, maps = {"dog": 0.9, "cat": 0.5}, {"dog": TWO_SPOTS, "cat": TWO_SPOTS[::-1].copy()}
    with LocalizationWriter(tmp_path / "found") as writer:
        for name in "abc":
            boxes = boxes_of_maps(maps, scores, (40, 30), DRAWN)
            path = tmp_path / "photos" / f"{name}.png"
            writer.write(store.write(Localization(path=path, size=(40, 30), scores=scores, boxes=boxes, maps=maps)))
    store.finish()
    boxes = {"threshold": 0.3, "box_rule": "largest", "min_area": 0.001, "nms_iou": 0.5}
    write_text(tmp_path / "found" / "localize.json", json.dumps({"boxes": boxes}))
    return tmp_path / "found"


def exported(source: Path, out: Path, **settings) -> dict[str, Boxes]:
    export(source, format="wsl", out=out, **settings)
    return {one.path.stem: one.boxes for one in read_localizations(out)}


def drawn(**settings) -> Boxes:
    maps = {"dog": TWO_SPOTS, "cat": TWO_SPOTS[::-1]}
    return boxes_of_maps(maps, {"dog": 0.9, "cat": 0.5}, (40, 30), BoxConfig(**settings))


@pytest.mark.parametrize(
    "settings", [{"threshold": 0.6}, {"box_rule": "all"}, {"threshold": 0.45, "box_rule": "all", "nms_iou": 0.1}]
)
def test_boxes_are_those_that_the_predictor_draws(settings, found, tmp_path):
    expected = drawn(**{"threshold": 0.3, "box_rule": "largest", "min_area": 0.001, **settings})
    boxes = exported(found, tmp_path / "out", **settings)["a"]
    assert boxes.labels == expected.labels
    np.testing.assert_allclose(boxes.xyxy, expected.xyxy, atol=0.005)
    np.testing.assert_allclose(boxes.scores, expected.scores, atol=1e-3)


def test_nothing_is_drawn_where_nothing_else_is_asked_for(found, tmp_path):
    for shard in (found / "maps").glob("*"):
        shard.unlink()  # not even looked at
    assert len(exported(found, tmp_path / "out", threshold=0.3)["a"]) == 2
    assert cli.export([str(found), "--format", "yolo", "--out", str(tmp_path / "yolo")]) == 0


def test_boxes_without_maps_cannot_be_drawn_anew(found, tmp_path, capsys):
    bare = export(found, format="wsl", out=tmp_path / "bare").path.parent
    for source in (bare, export(found, format="coco", out=tmp_path / "coco").path):
        flags = [str(source), "--threshold", "0.5", "--format", "yolo", "--out", str(tmp_path / "out")]
        assert cli.export(flags) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "boxes and no maps to draw others from" in error


def marks(found: Path, *marked: tuple[str, str, str], **boxes: object) -> Path:
    records = [
        {"image": (found.parent / "photos" / f"{name}.png").as_posix(), "class": label, "mark": mark}
        for name, label, mark in marked
    ]
    write_text(found / "reviewed.json", json.dumps({"boxes": boxes, "marks": records}))
    return found / "reviewed.json"


def test_rejected_boxes_stay_behind(found, tmp_path):
    file = marks(found, ("a", "dog", "reject"), ("b", "dog", "accept"))
    boxes = exported(found, tmp_path / "out", reviewed=file)
    assert {name: one.labels for name, one in boxes.items()} == {
        "a": ("cat",),
        "b": ("dog", "cat"),
        "c": ("dog", "cat"),
    }
    only = exported(found, tmp_path / "only", reviewed=file, only_reviewed=True)
    assert {name: one.labels for name, one in only.items()} == {"a": (), "b": ("dog",), "c": ()}
    result = export(found, format="yolo", out=tmp_path / "yolo", reviewed=file, only_reviewed=True)
    assert (result.images, result.left_out) == (1, 2)


def test_boxes_are_those_of_the_slider(found, tmp_path):
    file = marks(found, ("a", "dog", "accept"), threshold=0.6, box_rule="all", min_area=0.001, nms_iou=0.5)
    boxes = exported(found, tmp_path / "out", reviewed=file)["a"]
    np.testing.assert_allclose(boxes.xyxy, drawn(threshold=0.6, box_rule="all", min_area=0.001).xyxy, atol=0.005)
    given = exported(found, tmp_path / "given", reviewed=file, threshold=0.4)["a"]
    np.testing.assert_allclose(given.xyxy, drawn(threshold=0.4, box_rule="all", min_area=0.001).xyxy, atol=0.005)


def test_rejected_classes_have_no_masks(found, tmp_path):
    file = marks(found, ("a", "dog", "reject"))
    path = export(found, format="coco-masks", out=tmp_path / "out", reviewed=file).path
    known = json.loads((tmp_path / "out" / "images.json").read_text(encoding="utf-8"))
    names = {one["id"]: one["file_name"] for one in known["images"]}
    labels = {one["id"]: one["name"] for one in known["categories"]}
    of = [(names[one["image_id"]], labels[one["category_id"]]) for one in json.loads(path.read_text(encoding="utf-8"))]
    assert sorted(of) == sorted([("a.png", "cat"), *((f"{n}.png", label) for n in "bc" for label in ("cat", "dog"))])


def test_marks_of_other_images(found, tmp_path, caplog):
    with pytest.raises(UserError, match="none of the 1 images with a mark is in the sources"):
        exported(found, tmp_path / "out", reviewed=marks(found, ("z", "dog", "reject")))
    exported(found, tmp_path / "out", reviewed=marks(found, ("z", "dog", "reject"), ("a", "dog", "reject")))
    assert "1 images with a mark are not in the sources" in caplog.text


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "has no list of marks"),
        ({"marks": [{"image": "a.png", "class": "dog", "mark": "maybe"}]}, r"marks\[0\] is .* accept or reject"),
        ({"marks": [], "boxes": {"threshold": 2}}, "threshold is 2"),
        ({"marks": [], "boxes": 3}, "malformed"),
        (
            {
                "marks": [
                    {"image": "a", "class": "x", "mark": "accept"},
                    {"image": "./a", "class": "x", "mark": "reject"},
                ]
            },
            "a has two marks of 'x'",
        ),
    ],
)
def test_damaged_marks_are_refused(document, message, tmp_path):
    write_text(tmp_path / "reviewed.json", json.dumps(document))
    with pytest.raises(UserError, match=message):
        read_review(tmp_path / "reviewed.json")


def test_keeping_what_was_accepted_needs_marks(tmp_path):
    with pytest.raises(UserError, match="expected --reviewed and the file of the marks with it"):
        ExportConfig(sources=(tmp_path,), format="coco", out=tmp_path, only_reviewed=True)
