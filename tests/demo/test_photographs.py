"""The picture of the first page: cropped photographs above their heatmaps."""

import numpy as np
import pytest
import torch
from photographs import CELL, draw, filling

import wsl


@pytest.mark.parametrize("size", [(300, 451), (512, 512), (100, 30), (224, 300)])
def test_a_crop_is_the_largest_middle_part_in_the_shape_of_a_cell(size):
    rows, columns = np.mgrid[: size[0], : size[1]]
    photograph = np.stack([rows % 256, columns % 256, rows // 256 + 2 * (columns // 256)], -1).astype(np.uint8)
    cropped = filling(photograph)
    height, width = cropped.shape[:2]
    assert abs(width / height - CELL[0] / CELL[1]) < 2 / height
    assert height == size[0] or width == size[1]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    np.testing.assert_array_equal(cropped, photograph[top : top + height, left : left + width])


def test_heatmaps_stand_below_their_photographs():
    torch.manual_seed(0)
    model = wsl.Localizer("tinynet", classes=["cat", "dog"], weights=None)
    photograph = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    one, two = draw(model, {"a": photograph}), draw(model, {"a": photograph, "b": photograph[:, ::-1]})
    assert one.shape[0] == two.shape[0] > 2 * CELL[1]
    assert one.shape[1] > CELL[0]
    assert two.shape[1] > 2 * CELL[0]
    assert (one[: one.shape[0] // 2] != one[-(one.shape[0] // 2) :]).any()
