"""read_coco against pycocotools, the counts of real data, and one clear line for every kind of bad file."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from wsl import run_lengths
from wsl.data import read_coco
from wsl.errors import UserError


def document(**changes: Any) -> dict[str, Any]:
    """Two images; a dog and a crowd of people in the first. A category's position is not its order."""
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 100, "height": 50},
            {"id": 8, "file_name": "b.jpg", "width": 100, "height": 50},
        ],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 20, 30.5, 5], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 100, 50], "iscrowd": 1},
        ],
    } | changes


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(content: Any, name: str = "annotations/instances_val2017.json", images: str = "val2017") -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        for image in ("a.jpg", "b.jpg"):
            (tmp_path / images / image).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / images / image).touch()
        return tmp_path

    return write


def test_boxes_labels_crowds_and_empty_images(make):
    found = read_coco(make(document()), "val2017")
    first, second = found.samples
    assert found.classes == ("person", "dog")
    assert (first.labels, first.ignored, first.size, first.id) == (("dog",), ("person",), (100, 50), "a.jpg")
    assert first.boxes.xyxy.tolist() == [[10, 20, 40.5, 25], [0, 0, 100, 50]]
    assert first.boxes.difficult.tolist() == [False, True]
    assert (second.labels, len(second.boxes)) == ((), 0)


@pytest.mark.parametrize("images", ["val2017", "val", "images/val2017", "images/val", "images", "."])
def test_images_are_found_in_every_usual_place(make, images):
    assert all(sample.path.is_file() for sample in read_coco(make(document(), images=images), "val").samples)


@pytest.mark.parametrize("split", ["val2017", "val", "all", None])
def test_the_json_itself_is_the_split_of_its_name(make, split):
    root = make(document())
    file = root / "annotations" / "instances_val2017.json"
    assert len(read_coco(str(file), split)) == len(read_coco(root, split)) == 2
    with pytest.raises(UserError, match=r"has no split 'train'; it has: all, val2017"):
        read_coco(file, "train")


def test_a_json_of_any_name_beside_its_images(make):
    root = make(document(), name="my_val.json", images=".")
    assert len(read_coco(root / "my_val.json", "val")) == 2
    assert len(read_coco(root / "my_val.json", None)) == 2


def test_an_unknown_or_ambiguous_split_lists_the_others(make):
    make(document())
    root = make(document(), name="annotations/instances_val2014.json")
    with pytest.raises(UserError, match="has no split 'test'; it has: val2014, val2017"):
        read_coco(root, "test")
    with pytest.raises(UserError, match="needs a split; it has: val2014, val2017"):
        read_coco(root, "val")


def test_boxes_are_clipped_and_those_without_extent_dropped_with_a_warning(make):
    shapes = ([90, 40, 30, 30], [5, 5, 0, 9], [200, 0, 5, 5])
    boxes = [{"image_id": 8, "category_id": 1, "bbox": shape} for shape in shapes]
    root = make(document(annotations=boxes))
    with pytest.warns(UserWarning, match="2 boxes without extent inside their image were dropped"):
        found = read_coco(root, "val")
    assert found.samples[1].boxes.xyxy.tolist() == [[90, 40, 100, 50]]


def test_an_image_of_unknown_size_keeps_its_boxes(make):
    bare = document(images=[{"id": 7, "file_name": "a.jpg"}])
    sample = read_coco(make(bare), "val").samples[0]
    assert sample.size is None
    assert len(sample.boxes) == 2


def outlined(*segmentations: Any) -> dict[str, Any]:
    """As `document`, with what is under ``segmentation`` of the dog and the crowd; and a dog that nobody outlined."""
    bare = {"id": 3, "image_id": 8, "category_id": 18, "bbox": [1, 1, 2, 2]}
    rows = [*document()["annotations"], bare]
    return document(
        annotations=[
            {**row, "segmentation": segmentation} for row, segmentation in zip(rows, (*segmentations, []), strict=True)
        ]
    )


def test_outlines_are_pycocotools_own_pixels(make):
    dog, people = [[10, 20, 40.5, 20, 40.5, 25], [50, 30, 60, 30, 60, 40, 50, 40]], [400, 600, 4000]
    root = make(outlined(dog, {"size": [50, 100], "counts": people}))
    first, second = read_coco(root, "val", outlines=True).samples
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(root / "annotations" / "instances_val2017.json")
    for outline, (number, label, ignored) in zip(
        (*first.outlines, *second.outlines), ((1, "dog", False), (2, "person", True), (3, "dog", True)), strict=True
    ):
        assert (outline.label, outline.ignored) == (label, ignored)
        if number < 3:
            assert outline.runs == theirs.annToRLE(theirs.anns[number])["counts"]
    assert np.argwhere(run_lengths.decode(second.outlines[0].runs, (100, 50))).tolist() == [
        [1, 1],
        [1, 2],
        [2, 1],
        [2, 2],
    ]


def test_outlines_are_read_where_they_are_asked_for_and_there_are_some(make):
    some = outlined([[0, 0, 9, 0, 9, 9]], [])
    assert all(sample.outlines is None for sample in read_coco(make(some), "val").samples)
    assert all(sample.outlines is None for sample in read_coco(make(document()), "val", outlines=True).samples)
    del some["images"][0]["width"], some["images"][0]["height"]
    first, second = read_coco(make(some), "val", outlines=True).samples
    assert first.outlines is None
    assert len(second.outlines) == 1


@pytest.mark.parametrize(
    "segmentation", [[[0, 0, 1, 1, 2]], {"size": [50, 100], "counts": [5]}, "polygon", [[0, 0, 1e9, 0, 1, 1]]]
)
def test_an_outline_that_does_not_fit_says_where(make, segmentation):
    with pytest.raises(UserError, match=r"instances_val2017\.json: the annotation 1 of image 7: .*expected") as caught:
        read_coco(make(outlined(segmentation, [])), "val", outlines=True)
    assert "\n" not in str(caught.value)


def box(**changes: Any) -> dict[str, Any]:
    return document(annotations=[{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]} | changes])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"instances_val2017\.json: not JSON"),
        ("[]", "a list, expected an object with images, annotations, categories"),
        ({}, "no list of images"),
        (document(annotations=None), "no list of annotations"),
        (document(images=[], annotations=[]), "the list of images is empty; expected at least one"),
        (document(images=[{"id": 7}]), r"images\[0\] has the file_name None"),
        (document(images=[5]), r"images\[0\] has the id None"),
        (document(images=[{"id": 7, "file_name": "../a.jpg"}]), r"names '\.\./a\.jpg', which is not inside"),
        (document(images=[{"id": 7, "file_name": "a.jpg"}] * 2, annotations=[]), "two images have the same id"),
        (
            document(images=[{"id": 7, "file_name": "a.jpg", "width": 0, "height": 5}]),
            r"a\.jpg: width is 0",
        ),
        (document(images=[{"id": 7, "file_name": "lost.jpg"}]), r"lost\.jpg: no such image; 1 of the 1 images"),
        (document(categories=[]), "expected categories with distinct ids and names, at least one"),
        (document(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]), "distinct ids and names"),
        (box(category_id=99), r"annotations\[0\] has the category 99, which is not among the categories"),
        (box(image_id=99), r"annotations\[0\] is of image 99, which is not among the images"),
        (box(bbox=[1, 2, 3]), r"annotations\[0\] has the bbox \[1, 2, 3\]; expected \[x, y, width, height\]"),
        (box(bbox=[1, 2, -3, 4]), "neither negative"),
        (box(bbox=[1, 2, float("nan"), 4]), "the number NaN is not finite"),
        (box(bbox=[1, 2, 10**400, 4]), "a whole number of 401 digits"),
        (box(bbox="1 2 3 4"), r"annotations\[0\] has the bbox '1 2 3 4'"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_malformed_file_says_where(make, content, message):
    with pytest.raises(UserError, match=message) as caught:
        read_coco(make(content), "val")
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match=r"no COCO annotations; expected annotations/instances_<split>\.json"):
        read_coco(tmp_path, "val")
    with pytest.raises(UserError, match="no such file or folder"):
        read_coco(tmp_path / "lost", "val")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "file_name", "image_id", "category_id", "bbox"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), junk, max_size=3))
def test_any_json_is_a_data_set_or_a_user_error(tmp_path_factory, changes):
    file = tmp_path_factory.mktemp("coco") / "instances_val.json"
    (file.parent / "a.jpg").touch()
    (file.parent / "b.jpg").touch()
    file.write_text(json.dumps(document() | changes), encoding="utf-8")
    with contextlib.suppress(UserError):
        assert len(read_coco(file, None)) == 2


@pytest.mark.realdata
@pytest.mark.parametrize(("split", "boxes", "with_boxes"), [("train", 929, 126), ("val", 898, 128)])
def test_real_coco_equals_pycocotools(realdata, split, boxes, with_boxes):
    root = realdata / "coco2017_subset"
    found = read_coco(root, split)
    assert len(found) == 128
    assert len(found.classes) == 80
    assert sum(len(sample.boxes) for sample in found.samples) == boxes
    assert sum(bool(sample.labels) for sample in found.samples) == with_boxes
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(root / "annotations" / f"instances_{split}2017_sub128.json")
    names = {number: category["name"] for number, category in reference.cats.items()}
    assert found.classes == tuple(names[number] for number in sorted(names))
    by_name = {image["file_name"]: image["id"] for image in reference.imgs.values()}
    for sample in found.samples:
        expected = reference.imgToAnns[by_name[sample.path.name]]
        assert list(sample.boxes.labels) == [names[one["category_id"]] for one in expected]
        for found_box, one in zip(sample.boxes.xyxy.tolist(), expected, strict=True):
            x, y, w, h = one["bbox"]
            assert found_box == pytest.approx([x, y, x + w, y + h], abs=0.02)


@pytest.mark.parametrize(("mark", "labels"), [("0", ("dog",)), ("false", ("dog",)), ("1", ()), (True, ())])
def test_a_crowd_is_one_however_it_is_written(make, mark, labels):
    (box,) = document()["annotations"][:1]
    found = read_coco(make(document(annotations=[{**box, "iscrowd": mark}])), "val2017")
    assert found.samples[0].labels == labels


def test_roboflow_has_a_folder_a_split_and_its_project_above_the_classes(make):
    content = document(
        categories=[
            {"id": 0, "name": "dog", "supercategory": "none"},
            {"id": 18, "name": "dog", "supercategory": "dog"},
            {"id": 1, "name": "person", "supercategory": "dog"},
        ]
    )
    root = make(content, "valid/_annotations.coco.json", images="valid")
    for source, split in ((root, "valid"), (root / "valid" / "_annotations.coco.json", "all")):
        found = read_coco(source, split)
        assert (found.classes, found.samples[0].labels) == (("person", "dog"), ("dog",))


def test_polygons_of_two_points_are_left_out(make):
    (box,) = document()["annotations"][:1]
    triangle = [10, 20, 20, 20, 10, 25]
    polygons = [[[2, 2, 22, 22]], [[2, 2, 22, 22], triangle]]
    records = [{**box, "id": i, "segmentation": one} for i, one in enumerate(polygons)]
    found = read_coco(make(document(annotations=records)), "val2017", outlines=True)
    nothing, drawn = found.samples[0].outlines
    assert (nothing.ignored, drawn.ignored) == (True, False)
    assert drawn.runs == run_lengths.from_segmentation([triangle], (100, 50))


@pytest.mark.parametrize("size", [(65536, 65536), (2**40, 2), (1.5, 3), (True, 3)])
def test_a_stated_size_that_cannot_be_is_refused(make, size):
    image = {"id": 7, "file_name": "a.jpg", "width": size[0], "height": size[1]}
    with pytest.raises(UserError, match=r"a\.jpg: (width is|\d+ x \d+ pixels by what is stated)"):
        read_coco(make(document(images=[image], annotations=[])), "val2017")


def lvis(**image):
    dog = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4]}
    first = {
        "id": 1,
        "coco_url": "http://images.cocodataset.org/train2017/0001.jpg",
        "not_exhaustive_category_ids": [3],
    }
    categories = [{"id": number, "name": name} for number, name in ((1, "ant"), (2, "bee"), (3, "dog"))]
    return {"images": [{**first, "neg_category_ids": [2], **image}], "categories": categories, "annotations": [dog]}


def test_lvis_knows_only_what_was_verified(tmp_path):
    (tmp_path / "lvis_v1_train.json").write_text(json.dumps(lvis()), encoding="utf-8")
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "0001.jpg").touch()
    (sample,) = read_coco(tmp_path, "train").samples
    assert (sample.id, sample.labels, sample.negatives) == ("train2017/0001.jpg", ("dog",), ("bee",))
    assert sample.unknown(["ant", "bee", "dog"]) == {"ant"}
    assert sample.not_exhaustive == ("dog",)


@pytest.mark.parametrize("numbers", [[9], "3", [True], 3])
def test_lvis_classes_that_cannot_be_lacking_boxes(tmp_path, numbers):
    (tmp_path / "lvis_v1_train.json").write_text(json.dumps(lvis(not_exhaustive_category_ids=numbers)), "utf-8")
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "0001.jpg").touch()
    with pytest.raises(UserError, match="not_exhaustive_category_ids"):
        read_coco(tmp_path, "train")


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ([3], "'dog' is annotated, and among neg_category_ids"),
        ([9], "neg_category_ids has 9, which is not among"),
        ("2", "neg_category_ids is '2', expected a list"),
        ([True], "neg_category_ids has True"),
    ],
)
def test_lvis_negatives_that_cannot_be(tmp_path, negatives, message):
    (tmp_path / "lvis_v1_train.json").write_text(json.dumps(lvis(neg_category_ids=negatives)), encoding="utf-8")
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "0001.jpg").touch()
    with pytest.raises(UserError, match=message):
        read_coco(tmp_path, "train")
