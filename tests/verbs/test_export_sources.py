"""Exports of several sources, of data with splits, and of images in which nothing is left."""

import json
import shlex
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
import yaml

from wsl import cli
from wsl.boxes import Boxes
from wsl.config import DataConfig, ExportConfig
from wsl.data import read_samples
from wsl.draw import save_image
from wsl.errors import UserError
from wsl.formats import LocalizationWriter, read_localizations
from wsl.formats.sources import SOURCES, detect_source
from wsl.results import Localization
from wsl.verbs.export import export


@pytest.fixture
def localize(tmp_path):
    """Write localizations of images, each with a box of some score (None: no box)."""

    def make(folder: str, scores: dict[str, float | None]) -> Path:
        with LocalizationWriter(tmp_path / folder) as writer:
            for name, score in scores.items():
                path = tmp_path / "photos" / name
                save_image(path, np.full((6, 8, 3), 90, np.uint8))
                boxes = Boxes.empty()
                if score is not None:
                    boxes = Boxes(xyxy=[[1, 1, 5, 4]], labels=["dog"], scores=[score])
                writer.write(Localization(path=path, size=(8, 6), scores={}, boxes=boxes))
        return tmp_path / folder

    return make


def data_yaml(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("layout", ["nested", "flat"])
def test_yolo_carries_the_splits_that_images_lie_in(layout, localize, tmp_path):
    found = localize("found", {"train/x/a.png": 0.9, "train/y/a.png": 0.9, "valid/x/b.png": 0.9, "test/c.png": 0.9})
    result = export(found, format="yolo", out=tmp_path / "out", copy_images=True, layout=layout)
    out = tmp_path / "out"
    assert data_yaml(out) == {
        "train": "images/train",
        "val": "images/valid",
        "test": "images/test",
        "names": {0: "dog"},
    }
    nested = ["test/c", "train/x/a", "train/y/a", "valid/x/b"]
    flat = ["test/c", "train/x_a", "train/y_a", "valid/x_b"]
    expected = nested if layout == "nested" else flat
    assert [name.removesuffix(".png") for name in files(out / "images")] == expected
    assert [name.removesuffix(".txt") for name in files(out / "labels")] == expected
    assert result.note == ""
    if layout == "nested":  # otherwise the images have other names
        assert cli.evaluate(["--predictions", str(found), "--data", str(out), "--split", "val"]) == 0


def test_yolo_carries_the_splits_that_were_localized(localize, tmp_path):
    made = [localize("a", {"cats/a.png": 0.9, "dogs/b.png": 0.9}), localize("b", {"cats/c.png": 0.9})]
    for folder, split in zip(made, ("train", "val"), strict=True):
        (folder / "localize.json").write_text(json.dumps({"data": {"data": "photos"}, "split": split}), "utf-8")
    export(*made, format="yolo", out=tmp_path / "out", copy_images=True)
    assert data_yaml(tmp_path / "out") == {"train": "images/train", "val": "images/val", "names": {0: "dog"}}
    assert files(tmp_path / "out" / "labels") == ["train/cats/a.txt", "train/dogs/b.txt", "val/cats/c.txt"]


@pytest.mark.parametrize("name", ["labelme", "cvat"])
def test_tools_keep_the_splits_that_were_localized(name, localize, tmp_path):
    made = [localize("a", {"cats/a.png": 0.9, "dogs/b.png": 0.9}), localize("b", {"cats/c.png": 0.9})]
    for folder, split in zip(made, ("train", "val"), strict=True):
        (folder / "localize.json").write_text(json.dumps({"data": {"data": "photos"}, "split": split}), "utf-8")
    export(*made, format=name, out=tmp_path / "out", copy_images=True)
    for split, count in (("train", 2), ("val", 1)):
        assert len(read_samples(DataConfig(data=tmp_path / "out"), split).samples) == count
    export(tmp_path / "out", format="yolo", out=tmp_path / "again", copy_images=True)
    assert files(tmp_path / "again" / "labels") == ["train/cats/a.txt", "train/dogs/b.txt", "val/cats/c.txt"]


def test_yolo_without_splits_says_what_it_validates_on(localize, tmp_path, capsys):
    found = localize("found", {"train/a.png": 0.9, "dogs/b.png": 0.9})  # train is a class here
    assert cli.export([str(found), "--format", "yolo", "--out", str(tmp_path / "out")]) == 0
    assert data_yaml(tmp_path / "out")["train"] == data_yaml(tmp_path / "out")["val"] == "images"
    assert "data.yaml names the same images for training and validation" in capsys.readouterr().out


def test_a_split_of_which_nothing_is_left_is_no_split(localize, tmp_path):
    found = localize("found", {"train/a.png": 0.9, "val/b.png": 0.1})
    result = export(found, format="yolo", out=tmp_path / "out", copy_images=True, min_score=0.5)
    assert data_yaml(tmp_path / "out")["val"] == "images/train"
    assert "the same images for training and validation" in result.note


@pytest.mark.parametrize("layout", ["nested", "flat"])
@pytest.mark.parametrize(
    ("name", "written"), [("coco", "annotations/instances_{}.json"), ("voc", "ImageSets/Main/{}.txt")]
)
def test_coco_and_voc_carry_the_splits_that_images_lie_in(name, written, layout, localize, tmp_path):
    found = localize("found", {"train/x/a.png": 0.9, "train/y/a.png": 0.9, "valid/x/b.png": 0.9})
    out, again = tmp_path / "out", tmp_path / "again"
    export(found, format=name, out=out, copy_images=True, layout=layout)
    lists = [written.format(split) for split in ("train", "val")]
    assert [file for file in files(out) if file.startswith(lists[0].partition("/")[0]) and "/." not in file] == lists
    for split, count in (("train", 2), ("val", 1)):
        assert len(read_samples(DataConfig(data=out), split).samples) == count
    if layout == "nested":
        assert cli.evaluate(["--predictions", str(found), "--data", str(out), "--split", "val"]) == 0
    # As a source it has its splits still, also where no folder says them.
    export(out, format="yolo", out=again, copy_images=True)
    assert (data_yaml(again)["train"], data_yaml(again)["val"]) == ("images/train", "images/val")
    result = export(again, format="csv", out=tmp_path / "table")
    assert (result.images, result.boxes) == (3, 3)


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_an_export_replaces_the_splits_of_an_earlier_one_and_no_lists_made_by_hand(name, localize, tmp_path):
    whole, parts = localize("whole", {"dogs/a.png": 0.9}), localize("parts", {"train/a.png": 0.9, "val/b.png": 0.9})
    out = tmp_path / "out"
    export(parts, format=name, out=out)
    with pytest.raises(UserError, match="--overwrite replaces"):
        export(whole, format=name, out=out)
    export(whole, format=name, out=out, overwrite=True)
    folder = out / ("annotations" if name == "coco" else "ImageSets/Main")
    assert files(folder) == ["instances_all.json" if name == "coco" else "all.txt"]
    mine = folder / ("instances_val.json" if name == "coco" else "val.txt")
    mine.write_text("mine", encoding="utf-8")
    export(whole, format=name, out=out, overwrite=True)
    with pytest.raises(UserError, match="exists and is not part of the export"):
        export(parts, format=name, out=out, overwrite=True)
    assert mine.read_text(encoding="utf-8") == "mine"
    assert len(files(folder)) == 2


def test_the_splits_of_a_tool_become_folders(tmp_path):
    for name in ("train/images/a.png", "valid/images/b.png"):
        save_image(tmp_path / "set" / name, np.zeros((6, 8, 3), np.uint8))
        label = tmp_path / "set" / name.replace("images", "labels").replace(".png", ".txt")
        label.parent.mkdir(parents=True)
        label.write_text("0 0.5 0.5 0.5 0.5\n", encoding="utf-8")
    (tmp_path / "set" / "data.yaml").write_text("names: [dog]", encoding="utf-8")
    result = export(tmp_path / "set", format="yolo", out=tmp_path / "out", copy_images=True)
    assert (result.images, result.boxes) == (2, 2)
    assert files(tmp_path / "out" / "images") == [
        "train/a.png",
        "valid/b.png",
    ]  # one folder called images, as tools ask
    assert files(tmp_path / "out" / "labels") == ["train/a.txt", "valid/b.txt"]
    assert data_yaml(tmp_path / "out")["val"] == "images/valid"


@pytest.mark.parametrize("name", ["yolo", "voc", "coco"])
def test_images_of_which_no_box_is_left_are_no_background(name, localize, tmp_path, capsys):
    found = localize("found", {"a.png": 0.9, "b.png": 0.3, "c.png": None})
    flags = [str(found), "--format", name, "--min-score", "0.5", "--copy-images", "--out", str(tmp_path / "out")]
    assert cli.export(flags) == 0
    assert "1 box in 1 image; 2 images without a box left out (--keep-empty keeps them)" in capsys.readouterr().out
    assert not [path for path in files(tmp_path / "out") if Path(path).stem in "bc"]
    kept = export(found, format=name, min_score=0.5, keep_empty=True, out=tmp_path / "kept")
    assert (kept.images, kept.left_out) == (3, 0)


def test_images_that_a_person_found_empty_stay(localize, tmp_path):
    found = localize("found", {"a.png": 0.9, "b.png": None})
    coco = export(found, format="coco", out=tmp_path / "coco", copy_images=True, keep_empty=True).path
    assert export(coco, format="yolo", out=tmp_path / "yolo", copy_images=True).images == 2
    assert (tmp_path / "yolo" / "labels" / "b.txt").read_text(encoding="utf-8") == ""


def test_sources_become_one_export(localize, tmp_path):
    first = localize("first", {"train/a.png": 0.9, "train/b.png": 0.8})
    second = localize("second", {"train/b.png": 0.8, "val/c.png": 0.7})
    third = export(localize("third", {"val/d.png": 1.0}), format="csv", out=tmp_path / "csv", copy_images=True).path
    result = export(first, second, third, format="yolo", out=tmp_path / "out", copy_images=True)
    assert (result.images, result.boxes) == (4, 4)
    assert len(files(tmp_path / "out" / "images")) == 4


def test_records_of_an_image_that_differ_are_named(localize, tmp_path):
    first, second = localize("first", {"a.png": 0.9}), localize("second", {"a.png": 0.8})
    told = r"a\.png occurs twice in .*first and .*second, where only the first has the box dog \(1, 1, 5, 4\)"
    with pytest.raises(UserError, match=told):
        export(first, second, format="coco", out=tmp_path / "out")
    assert not (tmp_path / "out" / "annotations").exists()


def test_several_runs_are_no_model(tmp_path):
    with pytest.raises(UserError, match="2 sources for onnx: expected one run"):
        ExportConfig(sources=("a", "b"), format="onnx", out=tmp_path)


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"fiftyone"}))
def test_what_was_exported_is_recognised_and_measured(name, localize, tmp_path):
    found, out = localize("found", {"x/a.png": 0.9, "y/b.png": 0.9}), tmp_path / "exported" / "out"
    path = export(found, format=name, out=out, copy_images=name != "wsl").path
    assert detect_source(out) == name
    if path.is_file():
        assert detect_source(path) == name
    back = export(out, format="wsl", out=tmp_path / "back", keep_unreviewed=True).path
    assert [len(one.boxes) for one in read_localizations(back)] == [1, 1]
    if name not in ("wsl", "csv", "label-studio"):  # which are no data sets, or of tasks that nobody reviewed
        flags = ["--predictions", str(found), "--data", str(out), "--out", str(tmp_path / "result")]
        assert cli.evaluate(flags) == 0
        assert json.loads((tmp_path / "result" / "evaluation.json").read_text(encoding="utf-8"))["images"] == 2


def test_fiftyone_is_a_source(tmp_path):
    save_image(tmp_path / "data" / "a.png", np.zeros((6, 8, 3), np.uint8))
    box = {"_cls": "Detection", "label": "dog", "bounding_box": [0.25, 0.5, 0.5, 0.5]}
    sample = {"filepath": "data/a.png", "ground_truth": {"_cls": "Detections", "detections": [box]}}
    (tmp_path / "samples.json").write_text(json.dumps({"samples": [sample]}), encoding="utf-8")
    export(tmp_path, format="wsl", out=tmp_path / "out")
    (image,) = read_localizations(tmp_path / "out")
    assert image.boxes.xyxy.tolist() == [[2, 3, 6, 6]]
    assert image.path.is_file()


def test_nothing_recognised_says_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match=r"no boxes recognised; expected localizations\.jsonl or its folder, YOLO's"):
        detect_source(tmp_path)


def annotated(file: Path, *names: str) -> None:
    """Review some of the tasks of a file: take their predictions for right."""
    tasks = json.loads(file.read_text(encoding="utf-8"))
    for task in tasks:
        if task["meta"]["name"] in names:
            task["annotations"] = [{"result": task["predictions"][0]["result"]}]
    file.write_text(json.dumps(tasks), encoding="utf-8")


@pytest.mark.parametrize("copy", [True, False])
def test_label_studio_is_told_where_the_pictures_lie(copy, localize, tmp_path, capsys):
    found = localize("found", {"x/a b.png": 0.9, "y/c.png": 0.9})
    flags = ["--format", "label-studio", "--out", str(tmp_path / "my out"), *(["--copy-images"] if copy else [])]
    assert cli.export([str(found), *flags]) == 0
    told = capsys.readouterr().out.splitlines()
    (line,) = (line.strip() for line in told if "LOCAL_FILES_DOCUMENT_ROOT" in line)
    (setting,) = shlex.split(line)  # as a shell reads it
    root = setting.rpartition("=")[2]
    assert "  LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true" in told
    storage = Path(told[told.index(next(line for line in told if "source storage" in line)) + 1].strip())
    assert storage == (tmp_path / "my out" / "images" if copy else tmp_path / "photos")
    tasks = json.loads((tmp_path / "my out" / "tasks.json").read_text(encoding="utf-8"))
    for task in tasks:  # as Label Studio's server joins them
        url = urllib.parse.urlsplit(task["data"]["image"])
        file = Path(root) / urllib.parse.parse_qs(url.query)["d"][0]
        assert file.is_file()
        assert file.is_relative_to(storage)
        assert storage.parent == Path(root)


def test_tasks_that_nobody_reviewed_are_left_out(localize, tmp_path, capsys, caplog):
    found = localize("found", {"x/a.png": 0.9, "y/b.png": 0.8, "y/c.png": 0.7})
    out = tmp_path / "out"
    file = export(found, format="label-studio", out=out, copy_images=True).path
    with pytest.raises(UserError, match="none of the 3 tasks has been reviewed: --keep-unreviewed exports their"):
        export(file, format="yolo", out=tmp_path / "yolo")
    annotated(file, "x/a.png", "y/c.png")
    assert cli.export([str(file), "--format", "yolo", "--copy-images", "--out", str(tmp_path / "yolo")]) == 0
    assert "2 boxes in 2 images; 1 not reviewed and left out (--keep-unreviewed" in capsys.readouterr().out
    assert files(tmp_path / "yolo" / "labels") == ["x/a.txt", "y/c.txt"]
    assert export(out, format="csv", out=tmp_path / "csv", keep_unreviewed=True).images == 3
    assert cli.evaluate(["--predictions", str(found), "--data", str(out), "--out", str(tmp_path / "result")]) == 0
    assert json.loads((tmp_path / "result" / "evaluation.json").read_text(encoding="utf-8"))["images"] == 2
    assert "left out 1 tasks that nobody has reviewed" in caplog.text
