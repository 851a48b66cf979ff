"""Each kind of failure by hand, and none that has no name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.boxes import Boxes
from wsl.metrics import FAILURES, box_iou, failure, failures
from wsl.results import Localization
from wsl.samples import Sample

DOGS = [[0, 0, 10, 10], [20, 0, 30, 10]]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ([0, 0, 10, 10], None),
        ([0, 0, 10, 5], None),
        ([0, 0, 10, 4.9], "part only"),
        ([0, 0, 30, 10], "several objects merged"),
        ([3, 0, 27, 10], "several objects merged"),
        ([0, 0, 10, 21], "too big"),
        ([-40, -40, 12, 40], "too big"),
        ([8, 8, 18, 18], "wrong place"),
        ([40, 40, 50, 50], "wrong place"),
        ([5, 5, 5, 5], "wrong place"),
    ],
)
def test_why_a_box_is_wrong(box, reason):
    assert failure(box, DOGS) == reason


edges = st.tuples(*[st.integers(0, 20)] * 4).map(lambda e: [*map(min, e[:2], e[2:]), *map(max, e[:2], e[2:])])


@given(box=edges, instances=st.lists(edges, min_size=1, max_size=4))
def test_every_wrong_box_has_one_reason_and_no_right_one(box, instances):
    reason = failure(box, instances)
    assert (reason is None) == (box_iou(box, instances).max() >= 0.5)
    assert reason is None or reason in FAILURES


def found(scores=None, *rows):
    boxes = Boxes(xyxy=np.reshape([row[1] for row in rows], (-1, 4)), labels=[row[0] for row in rows],
                  scores=[row[2] for row in rows])  # fmt: skip
    return Localization(path="a.jpg", size=(90, 90), scores=scores or {}, boxes=boxes)


def test_why_an_image_s_classes_are_not_found():
    truths = Boxes(xyxy=[*DOGS, [50, 50, 70, 70]], labels=["dog", "dog", "cat"], difficult=[False, False, True])
    sample = Sample(path="a.jpg", labels=["dog", "bird"], ignored=["cat"], boxes=truths)
    two = found({}, ("dog", [0, 0, 10, 3], 0.9), ("dog", [0, 0, 10, 10], 0.8))
    assert failures(two, sample) == {"dog": "part only"}, "the best box counts; a bird has no box to find"
    assert failures(found({"cat": 0.9, "dog": 0.1}), sample) == {"dog": "no box"}, "a difficult cat is no mistake"
    assert failures(found({"cow": 0.9}, ("dog", [0, 0, 10, 10], 0.9)), sample) == {"dog": "wrong class"}
    assert failures(two, Sample(path="a.jpg", labels=["dog"])) == {}
