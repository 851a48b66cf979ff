"""The nouns refuse what would be silently wrong later."""

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.errors import UserError
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
