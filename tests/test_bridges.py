"""Boxes as the objects of other libraries: what they read is what we wrote."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from torchmetrics.detection import IntersectionOverUnion

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.results import Localization

CLASSES = ("bird", "cat", "dog")
TWO = Boxes(xyxy=[[10, 20, 50, 60], [0.5, 1, 9, 30]], labels=["dog", "bird"], scores=[0.75, 0.5])
NONE = Boxes.empty()
FOUND = Localization(path="photos/a.jpg", size=(100, 80), scores={"dog": 0.9}, boxes=TWO)


def same(a: Boxes, b: Boxes) -> bool:
    return a.labels == b.labels and np.array_equal(a.xyxy, b.xyxy) and np.array_equal(a.scores, b.scores)


@pytest.mark.parametrize("boxes", [TWO, NONE], ids=["two", "none"])
def test_torchvision_s_detections_and_back(boxes):
    detections = boxes.to_torch(CLASSES)
    assert {name: tensor.dtype for name, tensor in detections.items()} == {
        "boxes": torch.float32,
        "labels": torch.int64,
        "scores": torch.float32,
    }
    assert detections["boxes"].shape == (len(boxes), 4)
    assert same(Boxes.from_torch(detections, CLASSES), boxes)
    target = {name: detections[name] for name in ("boxes", "labels")}
    assert Boxes.from_torch(target, CLASSES).scores.tolist() == [1.0] * len(boxes)


def test_torchmetrics_takes_them():
    metric = IntersectionOverUnion()
    metric.update([TWO.to_torch(CLASSES)], [TWO.to_torch(CLASSES)])
    assert metric.compute()["iou"] == 1


def test_tensors_are_copies():
    TWO.to_torch()["boxes"].zero_()
    assert TWO.xyxy.any()


def test_numbers_and_names_that_do_not_agree_are_refused():
    with pytest.raises(UserError, match="boxes of dog, expected the classes bird, cat"):
        TWO.to_torch(["bird", "cat"])
    labels = {"boxes": torch.zeros(1, 4), "labels": torch.tensor([0])}
    with pytest.raises(UserError, match="class number 0, expected 1 to 3"):
        Boxes.from_torch(labels, CLASSES)
    with pytest.raises(UserError, match="expected boxes and labels"):
        Boxes.from_torch({"boxes": torch.zeros(1, 4)}, CLASSES)


def test_coco_s_own_reader_takes_the_annotations():
    truth = COCO()
    truth.dataset = {
        "images": [{"id": 7, "width": 100, "height": 80, "file_name": "a.jpg"}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)],
        "annotations": [],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        read = truth.loadRes(FOUND.to_coco(CLASSES, image_id=7))
    first, second = read.loadAnns(read.getAnnIds(imgIds=[7]))
    assert (first["category_id"], first["bbox"], first["area"]) == (3, [10, 20, 40, 40], 1600)
    assert (second["category_id"], second["score"]) == (1, 0.5)


def test_an_annotation_names_its_image_by_default():
    assert [one["image_id"] for one in FOUND.to_coco()] == ["a", "a"]
    assert [one["category_id"] for one in FOUND.to_coco()] == [2, 1]


@pytest.mark.parametrize("boxes", [TWO, NONE], ids=["two", "none"])
def test_supervision_s_detections_and_back(boxes):
    supervision = pytest.importorskip("supervision")
    detections = boxes.to_supervision(CLASSES)
    assert isinstance(detections, supervision.Detections)
    assert same(Boxes.from_supervision(detections), boxes)
    assert same(Boxes.from_supervision(detections, CLASSES), boxes)
    found = Localization(path="a.jpg", size=(100, 80), scores={}, boxes=boxes)
    picture = supervision.BoxAnnotator().annotate(np.zeros((80, 100, 3), np.uint8), found.to_supervision(CLASSES))
    assert picture.any() == bool(len(boxes))
    labelled = supervision.LabelAnnotator().annotate(picture, found.to_supervision())
    assert labelled.shape == (80, 100, 3)


def test_supervision_s_detections_without_names_need_classes():
    supervision = pytest.importorskip("supervision")
    detections = supervision.Detections(xyxy=np.float32([[0, 0, 4, 4]]), class_id=np.array([2]))
    assert Boxes.from_supervision(detections, CLASSES).labels == ("dog",)
    with pytest.raises(UserError, match=r"expected classes=\[…\]"):
        Boxes.from_supervision(detections)
    with pytest.raises(UserError, match="class number 2, expected 0 to 1"):
        Boxes.from_supervision(detections, CLASSES[:2])
    with pytest.raises(UserError, match="without class_id"):
        Boxes.from_supervision(supervision.Detections(xyxy=np.float32([[0, 0, 4, 4]])), CLASSES)


def test_fiftyone_s_detections_are_fractions_of_the_sides():
    fiftyone = pytest.importorskip("fiftyone")
    detections = FOUND.to_fiftyone()
    assert isinstance(detections, fiftyone.Detections)
    first = detections.detections[0]
    assert (first.label, first.confidence) == ("dog", 0.75)
    assert first.bounding_box == pytest.approx([0.1, 0.25, 0.4, 0.5])
    sample = fiftyone.Sample(filepath="photos/a.jpg", predictions=detections)
    assert len(sample.predictions.detections) == 2


@pytest.mark.parametrize("name", ["supervision", "fiftyone"])
def test_a_library_that_is_not_installed_is_named(name, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(UserError, match=f"{name} is not installed: pip install {name}"):
        getattr(FOUND, f"to_{name}")()
