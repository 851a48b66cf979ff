"""The digits' boxes are tight and inside, classes balanced, splits disjoint, and a seed decides every pixel."""

import doctest

import canvases
import numpy as np
import pytest
from canvases import CLASSES, MOST_DIGITS, SIDE, draw_canvases, read_scans, split_scans, stamp


@pytest.fixture(scope="module")
def scans():
    return read_scans()


@pytest.fixture(scope="module")
def drawn(scans):
    return list(draw_canvases(scans, 120, seed=(3,)))


def test_doctests():
    results = doctest.testmod(canvases)
    assert results.failed == 0
    assert results.attempted


def test_boxes_hold_all_ink_and_their_edges_touch_it(drawn):
    for canvas in drawn:
        for i, digit in enumerate(canvas.digits):
            rows, columns = np.nonzero(canvas.ink == i)
            assert digit.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert min(digit.box) >= 0
            assert max(digit.box) <= SIDE


def test_the_ink_is_in_the_picture(drawn):
    """Inside a box the pixels that are fully covered are brighter than any background."""
    for canvas in drawn:
        brightness = canvas.pixels.min(axis=2)
        for i in range(len(canvas.digits)):
            assert brightness[canvas.ink == i].max() >= 180


def test_digits_stand_apart_and_are_large_enough_to_read(drawn):
    for canvas in drawn:
        covered = np.zeros((SIDE, SIDE), int)
        for digit in canvas.digits:
            x0, y0, x1, y1 = digit.box
            covered[y0:y1, x0:x1] += 1
            assert y1 - y0 >= 16
        assert covered.max() == 1


def test_labels_are_distinct_and_every_class_is_as_frequent(drawn):
    labels = [digit.label for canvas in drawn for digit in canvas.digits]
    counts = [labels.count(name) for name in CLASSES]
    assert max(counts) - min(counts) <= 1
    numbers = [len(canvas.digits) for canvas in drawn]
    assert set(numbers) == set(range(1, MOST_DIGITS + 1))
    assert numbers.count(1) >= len(drawn) / 8  # MaxBoxAcc looks at these
    assert all(len({digit.label for digit in canvas.digits}) == len(canvas.digits) for canvas in drawn)


def test_a_digit_is_drawn_from_a_scan_of_its_class(scans, drawn):
    for digit in (digit for canvas in drawn for digit in canvas.digits):
        assert CLASSES[scans.labels[digit.scan]] == digit.label


def test_no_scan_is_in_both_splits(scans):
    train, test = split_scans(scans, seed=5)
    assert not set(train.numbers.tolist()) & set(test.numbers.tolist())
    assert len(train.numbers) + len(test.numbers) == len(scans.numbers)
    shares = np.bincount(test.labels) / np.bincount(scans.labels)
    assert (abs(shares - 1 / 3) < 0.01).all()
    drawn = [digit.scan for canvas in draw_canvases(test, 30, seed=(0,)) for digit in canvas.digits]
    assert set(drawn) <= set(test.numbers.tolist())


def test_a_seed_decides_every_pixel(scans):
    once, again, other = (list(draw_canvases(scans, 5, seed=(seed,))) for seed in (1, 1, 2))
    assert all((a.pixels == b.pixels).all() and a.digits == b.digits for a, b in zip(once, again, strict=True))
    assert not any((a.pixels == b.pixels).all() for a, b in zip(once, other, strict=True))


@pytest.mark.parametrize(("width", "height"), [(16, 16), (23, 40), (40, 37)])
def test_a_stamp_grows_with_its_sides_and_keeps_the_middle(width, height):
    cells = np.zeros((8, 8), np.int64)
    cells[2:6, 3:5] = 16  # a bar, 2 cells wide and 4 high, in the middle
    opacity = stamp(cells, width, height)
    assert abs(opacity.shape[0] - 4 * height / 8) <= 3
    assert abs(opacity.shape[1] - 2 * width / 8) <= 3
    assert opacity.max() == 255
    assert abs(opacity.astype(int) - opacity[::-1, ::-1]).max() <= 2


def test_interpolation_keeps_even_ink_even():
    for cells, pixels in ((10, 25), (4, 128), (5, 13)):
        assert (abs(canvases._cubic(cells, pixels).sum(axis=1) - 256) <= 2).all()
