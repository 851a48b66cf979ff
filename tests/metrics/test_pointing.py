import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wsl import run_lengths
from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics import PointingGame, pointing_accuracy, pointing_hit, pointing_hit_pixels
from wsl.samples import Outline, Sample


def hit_by_masks(point, boxes, tolerance, size=60):
    """TorchRay's test: does a disc around the point meet the mask of the boxes?"""
    mask = np.zeros((size, size), bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    y, x = np.mgrid[:size, :size]
    return bool((mask & ((x - point[0]) ** 2 + (y - point[1]) ** 2 < tolerance**2)).any())


coordinate = st.integers(0, 59)


@given(
    point=st.tuples(coordinate, coordinate),
    corners=st.lists(st.tuples(*[coordinate] * 4), max_size=3),
    tolerance=st.integers(1, 20),
)
def test_a_hit_is_what_torchrays_masks_say(point, corners, tolerance):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners]
    assert pointing_hit(point, boxes, tolerance) == hit_by_masks(point, boxes, tolerance)


@given(
    point=st.tuples(st.floats(-30, 90), st.floats(-30, 90)),
    mask=arrays.arrays(np.bool_, (60, 60), elements=st.booleans(), fill=st.just(False)),
    tolerance=st.floats(0.1, 20),
)
def test_a_hit_of_pixels_is_torchrays_test(point, mask, tolerance):
    y, x = np.mgrid[:60, :60]
    near = (x - point[0]) ** 2 + (y - point[1]) ** 2 < tolerance**2
    assert pointing_hit_pixels(point, mask, tolerance) == (mask & near).any()


def test_outlines_take_the_place_of_boxes(annotated, boxes, finding):
    """The dog fills a corner of its box; the point lies in the box, and 15 px or more from the dog."""
    mask = np.zeros((100, 100), bool)
    mask[:10, :10] = True
    sample = annotated(boxes(("dog", [0, 0, 80, 80])))
    runs = run_lengths.encode(mask)
    games = {True: PointingGame(["dog"]), False: PointingGame(["dog"])}
    for point in ((40, 40), (24, 5), (23, 5)):
        for outlined, game in games.items():
            drawn = (Outline(label="dog", runs=runs),) if outlined else None
            game.update(finding(points={"dog": point}), dataclasses.replace(sample, outlines=drawn))
    (_, pairs), (_, by_boxes) = games[True].compute(), games[False].compute()
    assert (pairs.value, by_boxes.value) == (pytest.approx(1 / 3), 1)
    assert (pairs.note, by_boxes.note) == ("(image, class) pairs; 3 against outlines", "(image, class) pairs")


@pytest.mark.parametrize(
    ("point", "hit"),
    [
        ((43, 25), True),
        ((44, 25), False),
        ((6, 25), True),
        ((5, 25), False),
        ((29 + 9, 29 + 12), False),
        ((37, 41), True),
    ],
)
def test_the_distance_is_to_the_last_pixel_and_strictly_under_the_tolerance(point, hit):
    # Pixels 20 … 29; 15 px = hypot(9, 12) is already a miss.
    assert pointing_hit(point, [[20, 20, 30, 30]], 15) is hit


@pytest.mark.parametrize(("point", "tolerance"), [((math.nan, 0), 15), ((0, math.inf), 15), ((0, 0), 0), ((0, 0), -1)])
def test_points_and_tolerances_that_make_no_sense_are_refused(point, tolerance):
    with pytest.raises(UserError, match="expected"):
        pointing_hit(point, [[0, 0, 1, 1]], tolerance)


def test_accuracy_counts_a_missing_point_as_a_miss():
    box = [[0, 0, 10, 10]]
    assert pointing_accuracy([(1, 1), None, (90, 90), (2, 2)], [box] * 4) == 0.5
    with pytest.raises(UserError):
        pointing_accuracy([], [])


def test_a_worked_game(finding, annotated, boxes):
    game = PointingGame(["cat", "dog"])
    both = annotated(boxes(("cat", [0, 0, 10, 10]), ("dog", [80, 80, 100, 100])))
    game.update(finding(points={"cat": (5, 5), "dog": (5, 5)}), both)
    game.update(finding(points={"cat": (50, 50)}), annotated(boxes(("cat", [40, 40, 60, 60]))))
    game.update(finding(points={"cat": (99, 0)}), annotated(boxes(("cat", [40, 40, 60, 60]))))
    by_class, by_pair = game.compute()
    assert by_class.per_class == {"cat": 2 / 3, "dog": 0.0}
    assert by_class.counts == {"cat": 3, "dog": 1}
    assert by_class.value == pytest.approx(1 / 3)
    assert by_pair.value == pytest.approx(2 / 4)
    assert by_class.baseline == pytest.approx((2 / 3 + 0) / 2)
    assert by_pair.baseline == pytest.approx(2 / 4)


def test_difficult_boxes_are_a_target_but_no_reason_to_play(finding, annotated, boxes):
    game = PointingGame(["dog"])
    at = {"dog": (5.0, 5.0)}
    game.update(finding(points=at), annotated(boxes(("dog", [0, 0, 10, 10], 1, "difficult"))))
    assert game.compute()[0].value is None
    game.update(
        finding(points=at), annotated(boxes(("dog", [0, 0, 10, 10], 1, "difficult"), ("dog", [80, 80, 99, 99])))
    )
    assert game.compute()[0].value == 1
    assert game.compute()[0].count == 1


def test_without_a_point_the_maps_peak_at_the_images_size_is_taken(finding, annotated, boxes):
    score_map = np.zeros((4, 4), np.float32)
    score_map[3, 0] = 1
    game = PointingGame(["dog"])
    game.update(
        finding(maps={"dog": score_map}, size=(400, 200)),
        annotated(boxes(("dog", [45, 170, 55, 180])), size=(400, 200)),
    )
    assert game.compute()[0].value == 1


def test_a_missing_point_is_a_miss_that_the_note_counts(finding, annotated, boxes):
    sample = annotated(boxes(("dog", [0, 0, 10, 10])))
    game = PointingGame(["dog"])
    game.update(finding(points={"dog": (1, 1)}), sample)
    game.update(finding(), sample)
    game.update(finding(maps={"dog": np.full((2, 2), np.nan, np.float32)}), sample)  # its argmax would hit
    assert game.compute()[0].value == pytest.approx(1 / 3)
    assert "2 missing" in game.compute()[0].note


def test_no_point_at_all_is_no_value(finding, annotated, boxes):
    game = PointingGame(["dog"])
    game.update(finding(), annotated(boxes(("dog", [0, 0, 10, 10]))))
    assert [metric.value for metric in game.compute()] == [None, None]


def test_a_label_without_a_box_is_no_trial(finding):
    game = PointingGame(["dog"])
    game.update(finding(points={"dog": (1, 1)}), Sample(path="a.jpg", labels=["dog"], boxes=Boxes.empty()))
    assert game.compute()[0].value is None


def test_bad_input_is_refused(finding, annotated, boxes):
    with pytest.raises(UserError, match=r"a\.jpg.*'dog'"):
        PointingGame(["dog"]).update(finding(points={"dog": (math.nan, 1)}), annotated(boxes(("dog", [0, 0, 10, 10]))))
    with pytest.raises(UserError, match="no boxes are annotated"):
        PointingGame(["dog"]).update(finding(), Sample(path="a.jpg", labels=["dog"]))
    with pytest.raises(UserError, match="tolerance"):
        PointingGame(["dog"], tolerance=0)
    with pytest.raises(UserError, match="unknown class"):
        PointingGame(["dog"]).update(finding(), annotated(boxes(("emu", [0, 0, 1, 1]))))
