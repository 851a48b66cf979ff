"""The nouns refuse what would be silently wrong later."""

import json

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.comparison import ComparedRun, Comparison
from wsl.errors import UserError
from wsl.results import EvaluationReport, Localization, Metric
from wsl.samples import Sample, SampleSet


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"xyxy": [[0, 0, 1, 1]], "labels": []}, "1 boxes with 0 labels"),
        ({"xyxy": [[5, 0, 1, 1]], "labels": ["dog"]}, "inverted"),
        ({"xyxy": [[0, 0, np.nan, 1]], "labels": ["dog"]}, "not finite"),
        ({"xyxy": [[0, 0, 1, 1]], "labels": ["dog"], "scores": [np.inf]}, "not finite"),
        ({"xyxy": [[0, 0, 1, 1]], "labels": ["dog"], "scores": [1, 2]}, "2 scores"),
    ],
)
def test_boxes_that_are_none(fields, message):
    with pytest.raises(UserError, match=message):
        Boxes(**fields)


def test_selecting_by_mask_and_by_order():
    boxes = Boxes(xyxy=[[0, 0, i + 1, 1] for i in range(3)], labels="abc", scores=[0.1, 0.2, 0.3])
    assert boxes.select(np.array([True, False, True])).labels == ("a", "c")
    assert boxes.select([2, 0]).labels == ("c", "a")
    assert boxes.of("b").scores.tolist() == [np.float32(0.2)]
    assert Boxes.concatenate([boxes, Boxes.empty(), boxes]).labels == tuple("abcabc")


def test_the_best_box_is_the_first_of_the_highest():
    boxes = Boxes(xyxy=[[0, 0, i + 1, 1] for i in range(4)], labels="abbb", scores=[0.9, 0.1, 0.5, 0.5])
    assert boxes.best("b").tolist() == [0, 0, 3, 1]
    assert boxes.best("c") is None


def test_a_sample_of_an_unknown_class_is_refused():
    with pytest.raises(UserError, match="unknown class 'dgo'"):
        SampleSet(classes=["dog"], samples=[Sample(path="a.jpg", labels=["dgo"])])
    with pytest.raises(UserError, match="twice"):
        SampleSet(classes=["dog", "dog"], samples=[])


def test_an_id_that_is_not_the_files_stem_survives_json():
    named = Localization(path="frames/7.jpg", id="camera 2/7", size=(4, 2), scores={"dog": 0.5}, boxes=Boxes.empty())
    assert named.to_json()["id"] == "camera 2/7"
    assert Localization.from_json(json.loads(json.dumps(named.to_json()))).id == "camera 2/7"


@pytest.mark.parametrize("id", ["frame.0001", "a/b", "0", "a b"])
def test_the_id_of_an_image_without_a_file_survives_json(id):
    found = Localization(path=id, id=id, size=(4, 2), scores={}, boxes=Boxes.empty())
    again = Localization.from_json(found.to_json())
    assert (again.id, again.path) == (id, found.path)


def test_records_of_named_files_hold_no_id_and_read_as_before():
    found = Localization(path="photos/a.b.jpg", size=(4, 2), scores={}, boxes=Boxes.empty())
    assert "id" not in found.to_json()
    assert Localization.from_json(found.to_json()).id == "a.b"


def test_a_report_and_a_comparison_are_shown_on_one_line():
    metrics = (Metric(name="mAP", value=0.25), Metric(name="PxAP", value=None))
    report = EvaluationReport(metrics=metrics, images=2, source="found")
    assert repr(report) == "EvaluationReport('found', 2 images: mAP 0.250, PxAP –)"
    runs = [ComparedRun(name=name, source=name, metrics={}) for name in ("gap", "lse")]
    settings = {"metrics": ["mAP"], "differences": [], "baseline": "gap", "images": 9, "split": "val"}
    assert repr(Comparison(runs=runs, **settings)) == "Comparison(gap, lse; 9 images of val: mAP)"
