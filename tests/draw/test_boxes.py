"""Boxes on pictures: where the lines lie, what tells true from predicted, labels inside at any size."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.boxes import Boxes
from wsl.data.voc import VOC_CLASSES
from wsl.draw import class_color, draw_boxes, draw_comparison
from wsl.draw.text import contrasting

GREY = np.full((200, 300, 3), 90, np.uint8)
RED = (255, 0, 0)


def mask_of(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (image == color).all(axis=-1)


def test_the_outline_runs_on_the_boxs_own_border_pixels() -> None:
    drawn = draw_boxes(GREY, Boxes(xyxy=[[50, 40, 150, 120]], labels=["dog"]), color=RED, labels=False)
    y, x = np.nonzero(mask_of(drawn, RED))
    assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (50, 40, 150, 120)
    assert np.array_equal(drawn[60:100, 70:130], GREY[60:100, 70:130])
    assert np.array_equal(drawn[:38], GREY[:38])


def test_the_callers_image_stays_untouched() -> None:
    image = GREY.copy()
    image.flags.writeable = False
    boxes = Boxes(xyxy=[[5, 5, 90, 90]], labels=["dog"])
    for drawn in (
        draw_boxes(image, boxes),
        draw_boxes(image, boxes, dashed=True),
        draw_comparison(image, boxes, boxes),
    ):
        assert not np.array_equal(drawn, image)
        assert not np.shares_memory(drawn, image)
    assert np.array_equal(draw_boxes(image, Boxes.empty()), image)


def test_without_colour_dashes_still_tell_true_boxes_from_predicted() -> None:
    box = Boxes(xyxy=[[50, 40, 250, 160]], labels=["dog"])
    solid, dashed = (draw_boxes(GREY, box, dashed=dashed, labels=False)[40, 51:249] for dashed in (False, True))
    assert len(np.unique(solid.mean(axis=-1).round())) == 1
    changes = np.count_nonzero(np.diff(dashed.astype(int).sum(axis=-1)))
    assert changes >= 6
    assert set(np.unique(dashed)) == {0, 255}


def test_predicted_labels_stand_above_their_box_and_true_ones_below() -> None:
    box = Boxes(xyxy=[[50, 60, 250, 140]], labels=["dog"])
    rows = [np.nonzero((draw_boxes(GREY, box, dashed=d) != GREY).any(axis=(1, 2)))[0] for d in (False, True)]
    assert rows[0].min() < 50
    assert rows[0].max() <= 141
    assert rows[1].min() >= 58
    assert rows[1].max() > 145


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    corners=st.lists(st.tuples(*[st.floats(-50, 350)] * 4), max_size=4),
    label=st.text(max_size=40),
    dashed=st.booleans(),
)
def test_any_box_and_any_name_on_any_picture(
    size: tuple[int, int], corners: list[tuple[float, ...]], label: str, dashed: bool
) -> None:
    image = np.zeros((size[1], size[0], 3), np.uint8)
    xyxy = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners]
    boxes = Boxes(xyxy=np.reshape(xyxy, (-1, 4)), labels=[label] * len(xyxy))
    assert draw_boxes(image, boxes, dashed=dashed).shape == image.shape


@pytest.mark.parametrize("size", [(120, 90), (640, 480), (2400, 1800)])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.8, 0.0), (0.0, 0.8), (0.8, 0.8)])
def test_the_label_is_whole_in_every_corner_and_grows_with_the_picture(
    size: tuple[int, int], corner: tuple[float, float]
) -> None:
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    x, y = corner[0] * size[0], corner[1] * size[1]
    box = Boxes(xyxy=[[x, y, x + 0.2 * size[0], y + 0.2 * size[1]]], labels=["dog"])
    plate = mask_of(draw_boxes(image, box, color=RED), RED) & ~mask_of(
        draw_boxes(image, box, color=RED, labels=False), RED
    )
    rows, columns = np.nonzero(plate)
    assert 0.03 * size[1] < np.ptp(rows) + 1 < 0.25 * size[1]
    assert np.ptp(columns) + 1 > 0.08 * size[0]


def test_a_long_name_is_shortened_and_keeps_its_score() -> None:
    name = "a class name that goes on and on and on"
    boxes = [Boxes(xyxy=[[10, 60, 60, 140]], labels=[name], scores=[score]) for score in (0.25, 0.75)]
    low, high = (draw_boxes(GREY, box, color=RED) for box in boxes)
    assert not np.array_equal(low, high)
    assert not mask_of(low, RED)[:, 170:].any()


def test_names_of_other_alphabets_have_letters_of_their_own() -> None:
    drawn = [draw_boxes(GREY, Boxes(xyxy=[[50, 60, 250, 140]], labels=[name])) for name in ("жы", "λφ", "üß", "čő")]
    ink = {(image == (0, 0, 0)).all(-1).tobytes() + (image == 255).all(-1).tobytes() for image in drawn}
    assert len(ink) == 4


def test_a_name_in_an_unknown_encoding_is_drawn_all_the_same() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    drawn = draw_boxes(GREY, Boxes(xyxy=[[50, 60, 250, 140]], labels=[name]))
    assert mask_of(drawn, class_color(name)).sum() > 300


def test_no_line_crosses_a_label_when_both_kinds_are_drawn() -> None:
    predicted = Boxes(xyxy=[[50, 60, 250, 150]], labels=["dog"], scores=[0.5])
    true = Boxes(xyxy=[[48, 56, 240, 142]], labels=["dog"])
    drawn = draw_comparison(GREY, predicted, true)
    alone = draw_boxes(GREY, true, dashed=True)
    plate = mask_of(alone, (255, 255, 255)) & ~mask_of(
        draw_boxes(GREY, true, dashed=True, labels=False), (255, 255, 255)
    )
    assert plate.sum() > 150
    assert mask_of(drawn, (255, 255, 255))[plate].all()


def test_labels_of_one_place_stand_side_by_side() -> None:
    box = [50.0, 60.0, 250.0, 150.0]
    drawn = draw_boxes(GREY, Boxes(xyxy=[box, box], labels=["cat", "dog"]))
    sizes = [mask_of(drawn, class_color(label)).sum() for label in ("cat", "dog")]
    assert min(sizes) > 300, "both plates are in sight"


def test_class_colours_are_the_same_in_every_process() -> None:
    names = ["cat", "dog", "кошка", ""]
    script = f"from wsl.draw import class_color; print([class_color(name) for name in {names!a}])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == str([class_color(name) for name in names])


@pytest.mark.parametrize("names", [VOC_CLASSES, "0123456789"], ids=["voc", "digits"])
def test_no_two_classes_of_a_common_data_set_look_alike(names) -> None:
    lab = cv2.cvtColor(np.float32([[class_color(name) for name in names]]) / 255, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 100 * np.eye(len(names))
    assert distances.min() > 15


@given(st.text())
def test_class_colours_are_bright_and_their_text_reads(label: str) -> None:
    color = class_color(label)
    assert max(color) - min(color) > 100
    luma = [sum(w * c for w, c in zip((0.299, 0.587, 0.114), rgb, strict=True)) for rgb in (color, contrasting(color))]
    assert abs(luma[0] - luma[1]) > 100


@pytest.mark.parametrize("size", [(10, 10), (48, 32), (20, 400)])
def test_on_a_very_small_image_boxes_are_not_hidden_by_their_names(size):
    photo = np.full((size[1], size[0], 3), 128, np.uint8)
    boxes = Boxes(xyxy=[[0, 0, size[0], size[1]]], labels=["a long name"])
    assert np.array_equal(draw_boxes(photo, boxes), draw_boxes(photo, boxes, labels=False))


def test_lines_are_finer_with_many_boxes() -> None:
    def width(count: int) -> int:
        boxes = Boxes(xyxy=[[200, 200, 800, 800]] * count, labels=["dog"] * count)
        return int((draw_boxes(np.zeros((1000, 1000, 3), np.uint8), boxes, labels=False)[500, :500] > 0).any(1).sum())

    assert width(1) == width(10) > width(40) == width(4000) > 1
