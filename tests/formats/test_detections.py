"""COCO results and the devkit's text files: boxes as their own evaluations read them, malformed ones in a line."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsl.errors import UserError
from wsl.formats import Numbers, detect_predictions
from wsl.formats.predictions.coco_results import read_coco_results
from wsl.formats.predictions.voc_results import read_voc_results
from wsl.samples import Sample, SampleSet

SAMPLES = SampleSet(
    classes=["cat", "dog"], samples=[Sample(path=f"{name}.jpg", labels=["dog"], size=(40, 30)) for name in "ab"]
)
IMAGES, CATEGORIES = {1: "a.jpg", 2: "b.jpg"}, {18: "dog", 17: "cat"}
DOG = {"image_id": 1, "category_id": 18, "bbox": [1, 2, 10, 20], "score": 0.5}


def read_coco(folder, records):
    path = folder / "results.json"
    path.write_text(records if isinstance(records, str) else json.dumps(records), encoding="utf-8")
    warnings = Counter()
    return [
        found for found, _ in read_coco_results(path, SAMPLES, warnings, numbers=lambda: Numbers(IMAGES, CATEGORIES))
    ], warnings


def read_voc(folder, warnings=None, split="val", **files):
    """Each file by the class in its name: ``dog="a 0.5 1 1 2 2"``."""
    for label, text in files.items():
        (folder / f"comp4_det_val_{label}.txt").write_text(text, encoding="utf-8")
    warnings = Counter() if warnings is None else warnings
    return [found for found, _ in read_voc_results(folder, SAMPLES, warnings, split=split)]


def test_coco_results(tmp_path):
    records = [
        DOG,
        {**DOG, "category_id": 17, "score": 0.25},
        {**DOG, "image_id": 99},
        {**DOG, "image_id": 2, "bbox": [-5, 0, 10, 50]},
    ]
    (a, b), warnings = read_coco(tmp_path, records)
    assert a.boxes.xyxy.tolist() == [[1, 2, 11, 22]] * 2
    assert a.boxes.labels == ("dog", "cat")
    assert a.boxes.scores.tolist() == [0.5, 0.25]
    assert b.boxes.xyxy.tolist() == [[-5, 0, 5, 50]]
    assert warnings == {
        "detections in images outside the split: left out": 1,
        "boxes that reach outside their image: kept as they are": 1,
    }


def test_pycocotools_reads_the_same_file_to_the_same_boxes(tmp_path):
    import contextlib
    import io

    from pycocotools.coco import COCO

    document = {"images": [{"id": i} for i in IMAGES], "categories": [{"id": i} for i in CATEGORIES], "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(document), encoding="utf-8")
    records = [{**DOG, "bbox": [0.5, 1.25, 7, 9.5]}, {**DOG, "image_id": 2, "category_id": 17}]
    found, _ = read_coco(tmp_path, records)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(tmp_path / "truth.json")).loadRes(str(tmp_path / "results.json"))
    for number, ours in zip(IMAGES, found, strict=True):
        (record,) = theirs.imgToAnns[number]
        x, y, width, height = record["bbox"]
        assert ours.boxes.xyxy.tolist() == [[x, y, x + width, y + height]]
        assert ours.boxes.labels == (CATEGORIES[record["category_id"]],)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ({"annotations": []}, "a dict, expected COCO results"),
        ([3], "detection 0 is a int"),
        ([DOG, {**DOG, "image_id": None}], "detection 1 has the image_id None"),
        ([{**DOG, "category_id": 1}], "category_id 1, which is not a category of the annotations"),
        ([{**DOG, "bbox": [1, 2, -3, 4]}], r"bbox \[1, 2, -3, 4\], expected \[x, y, width, height\]"),
        ([{**DOG, "bbox": [1, 2, 3]}], "has the bbox"),
        ('[{"image_id": 1, "category_id": 18, "bbox": [1, 2, 3, NaN], "score": 1}]', "the number NaN is not finite"),
        ([{"image_id": 1, "category_id": 18, "segmentation": {}, "score": 1}], "has the bbox None"),
        ([{**DOG, "score": "high"}], "has the score 'high', expected a number"),
        ([{**DOG, "image_id": 7}], "none of its 1 detections is in an image of the split"),
    ],
)
def test_coco_results_that_cannot_be_are_one_line(tmp_path, records, message):
    with pytest.raises(UserError, match=message) as caught:
        read_coco(tmp_path, records)
    assert "\n" not in str(caught.value)


boxes = st.tuples(*[st.integers(1, 60)] * 4).map(lambda e: (*map(min, e[:2], e[2:]), *map(max, e[:2], e[2:])))


@given(detections=st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1, width=32), boxes), max_size=8))
def test_a_devkit_file_gives_its_boxes_half_open(tmp_path_factory, detections):
    text = "".join(f"{image} {score!r} {' '.join(map(str, box))}\n" for image, score, box in detections)
    for found in read_voc(tmp_path_factory.mktemp("results"), dog=text):
        mine = [(score, box) for image, score, box in detections if image == found.id]
        np.testing.assert_array_equal(found.boxes.xyxy, np.reshape([box for _, box in mine], (-1, 4)) - [1, 1, 0, 0])
        assert found.boxes.scores.tolist() == [score for score, _ in mine]


def test_devkit_files_and_what_they_lack(tmp_path):
    warnings = Counter()
    (tmp_path / "comp4_det_train_cat.txt").write_text("a 0.5 1 1 4 4", encoding="utf-8")
    a, _ = read_voc(tmp_path, warnings, dog="a 0.5 1 1 4 4\n\nz 0.5 1 1 4 4\nb .6 1 1 41 4\n")
    assert a.boxes.labels == ("dog",)
    assert warnings == {
        "detections in images outside the split: left out": 1,
        "classes without a file of detections: none found": 1,
        "boxes that reach outside their image: kept as they are": 1,
    }
    only = read_voc_results(tmp_path / "comp4_det_val_dog.txt", SAMPLES, Counter(), split="val")
    assert len(next(only)[0].boxes) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 0.5 1 1 4 4\na 0.5 4 1 1 4", r"dog.txt:2: an inverted box \[4.0, 1.0, 1.0, 4.0\], expected x0 <= x1"),
        ("a 0.5 1 1 4", "expected <image> <score> <xmin> <ymin> <xmax> <ymax>"),
        ("a 0.5 1 1 4 4 5", "expected <image>"),
        ("a nan 1 1 4 4", "expected <image>"),
        ("a 0.5 1 1 inf 4", "expected <image>"),
        ("0.5 1 1 4 4", "expected <image>"),
    ],
)
def test_lines_that_cannot_be_are_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_voc(tmp_path, dog=text)


@given(text=st.text(st.sampled_from("ab .019-e\n\t\x00é"), max_size=60))
def test_any_text_is_detections_or_a_user_s_mistake(tmp_path_factory, text):
    try:
        found = read_voc(tmp_path_factory.mktemp("results"), dog=text)
    except UserError:
        return
    assert [one.id for one in found] == ["a", "b"]


def test_files_of_another_split_class_or_competition_are_told(tmp_path):
    with pytest.raises(UserError, match="none of its 1 result files belongs to the split test"):
        read_voc(tmp_path, dog="", split="test")
    (tmp_path / "comp3_det_val_dog.txt").touch()
    with pytest.raises(UserError, match="a second file of dog"):
        read_voc(tmp_path)
    (tmp_path / "comp3_det_val_dog.txt").rename(tmp_path / "comp3_det_val_cow.txt")
    with pytest.raises(UserError, match="unknown class 'cow'"):
        read_voc(tmp_path)


@pytest.mark.parametrize(
    ("files", "path", "kind"),
    [
        (["localizations.jsonl", "maps/shard-0000.npy"], "", "localizations"),
        (["localizations.jsonl.partial"], "localizations.jsonl.partial", "localizations"),
        (["kept.jsonl"], "kept.jsonl", "localizations"),
        (["a/b/c.npy"], "", "maps"),
        (["results.json"], "results.json", "coco"),
        (["comp3_det_val_dog.txt"], "", "voc"),
        (["comp3_det_val_dog.txt"], "comp3_det_val_dog.txt", "voc"),
    ],
)
def test_results_are_recognised_by_what_is_there(tmp_path, files, path, kind):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert detect_predictions(tmp_path / path) == kind


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        (
            [],
            "nowhere",
            "no such file or folder, expected localizations.jsonl, its folder or a folder of parts, Parquet parts, ",
        ),
        ([], "", "results of an unknown format, expected localizations.jsonl"),
        (["results.xml"], "results.xml", "results of an unknown format"),
        (["localizations.jsonl.partial", "maps/shard-0000.npy"], "", "interrupted run"),
    ],
)
def test_results_that_are_not_are_told(tmp_path, files, path, message):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=message):
        detect_predictions(tmp_path / path)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (["ImageSets/Main/val.txt", "JPEGImages/a.jpg", "SegmentationClass/a.png"], "a VOC data set"),
        (["VOC2012/ImageSets/Main/val.txt", "VOC2012/SegmentationClass/a.png"], "a VOC data set"),
        (["cats/a.jpg", "notes.txt"], "pictures"),
        (["cats/a.png"], "pictures"),
    ],
)
def test_data_sets_and_pictures_are_no_predictions(tmp_path, files, what):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        if name.endswith("png"):
            Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(UserError, match=f"holds {what} and no predictions: expected .* give a model as --weights"):
        detect_predictions(tmp_path)
