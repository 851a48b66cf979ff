"""Class maps spread over what looks alike, and over nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.maps import boxes_from_map, random_walk, resize_map


def features(seed=0, channels=6, height=5, width=7):
    return np.random.default_rng(seed).normal(size=(channels, height, width)).astype(np.float32)


@pytest.mark.parametrize(("power", "steps"), [(2, 3), (1, 1), (4, 5)])
def test_the_walk_is_the_slow_one(reference, power, steps):
    layers, score_map = [features(), features(1, 3)], np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    walked = random_walk(score_map, layers, power=power, steps=steps)
    vectors = [layer.reshape(len(layer), -1).T.tolist() for layer in layers]
    slow = reference.refine.random_walk(score_map.ravel().tolist(), vectors, power=power, steps=steps)
    np.testing.assert_allclose(walked.ravel(), slow, atol=1e-5)


def test_a_part_becomes_the_whole_thing_and_nothing_more():
    """One hot cell in a patch of one look fills the patch, whose box is then the thing's."""
    looks = np.full((3, 12, 12), -1, np.float32)
    looks[:, 3:9, 2:10] = 2
    part = np.zeros((12, 12), np.float32)
    part[4, 3] = 1
    walked = random_walk(part, [looks])
    inside = walked[3:9, 2:10]
    np.testing.assert_allclose(inside, inside[0, 0])
    assert inside[0, 0] > 0
    walked[3:9, 2:10] = 0
    assert (walked == 0).all()
    assert boxes_from_map(random_walk(part, [looks]), threshold=0.5).xyxy.tolist() == [[2, 3, 10, 9]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5))
def test_values_stay_within_the_map_s_range(seed, power, steps):
    rng = np.random.default_rng(seed)
    score_map = rng.normal(size=(4, 4)).astype(np.float32) * np.float32(10.0 ** rng.integers(-3, 4))
    walked = random_walk(score_map, [rng.normal(size=(3, 4, 4))], power=power, steps=steps)
    slack = 1e-5 * np.abs(score_map).max()
    assert score_map.min() - slack <= walked.min()
    assert walked.max() <= score_map.max() + slack


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_features_count_by_their_direction_alone(scale):
    """Neither their unit, nor what the whole image shares, nor the order of channels matters."""
    score_map = np.random.default_rng(3).normal(size=(5, 7))
    looks = features()
    same = (looks * scale + 3 * scale)[::-1]
    np.testing.assert_allclose(random_walk(score_map, [same]), random_walk(score_map, [looks]), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 3e4])
def test_an_image_of_one_look_keeps_its_map(value):
    """The rounding of a mean is no likeness."""
    score_map = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    looks = np.full((5, 16, 16), value, np.float32)
    np.testing.assert_allclose(random_walk(score_map, [looks]), score_map, atol=1e-6)


def test_maps_walk_each_on_its_own():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    together = random_walk(maps, [features()])
    assert together.shape == (2, 3, 5, 7)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[1, 2], random_walk(maps[1, 2], [features()]), atol=1e-6)
    np.testing.assert_allclose(random_walk(np.ones((2, 2)), [features()]), 1, atol=1e-6)


def test_without_a_step_the_map_is_only_resized():
    score_map = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(random_walk(score_map, [features()], steps=0), resize_map(score_map, (7, 5)))


@pytest.mark.parametrize(
    ("given_shape", "cells", "expected"),
    [((72, 72), 24, (24, 24)), ((72, 54), 24, (24, 18)), ((18, 18), 24, (18, 18)), ((2, 90), 24, (1, 24))],
)
def test_the_grid_is_the_features_own_or_a_coarser_one_of_its_shape(given_shape, cells, expected):
    assert random_walk(np.eye(3), [features(0, 2, *given_shape)], cells=cells).shape == expected


def test_finer_features_are_averaged():
    coarse = features(0, 3, 4, 4)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    score_map = np.random.default_rng(0).normal(size=(4, 4))
    np.testing.assert_allclose(random_walk(score_map, [fine], cells=4), random_walk(score_map, [coarse]), atol=1e-5)


def test_a_map_of_nan_stays_without_contrast():
    walked = random_walk([[np.nan, 1], [0, 1]], [features(0, 2, 2, 2)])
    assert len(boxes_from_map(walked)) == 0


def test_coarser_layers_are_interpolated_to_the_finest():
    looks = np.full((1, 6, 8), -1, np.float32)
    looks[:, :, :4] = 1
    coarse = looks[:, ::2, ::2]
    score_map = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    for layers in ([looks, coarse], [coarse, looks]):
        walked = random_walk(score_map, layers)
        assert walked.shape == (6, 8)
        assert np.ptp(walked[:, :3]) < 0.2 * np.ptp(score_map[:, :3])


@pytest.mark.parametrize(
    ("score_map", "looks", "options", "message"),
    [
        ([1, 2], [np.ones((2, 2, 2))], {}, r"maps have shape \(2,\)"),
        (np.ones((0, 2, 2)), [np.ones((2, 2, 2))], {}, r"maps have shape \(0, 2, 2\)"),
        ([[1]], [], {}, "no features"),
        ([[1]], np.ones((2, 2, 2)), {}, r"features have shape \(2, 2\), expected \(channels, h, w\)"),
        ([[1]], [np.ones((2, 2, 2)), np.ones((0, 2, 2))], {}, "features have shape"),
        ([[1]], [np.ones((2, 2, 2))], {"power": 0}, "power 0"),
        ([[1]], [np.ones((2, 2, 2))], {"steps": -1}, "steps -1"),
        ([[1]], [np.ones((2, 2, 2))], {"cells": 0}, "cells 0"),
    ],
)
def test_bad_arguments(score_map, looks, options, message):
    with pytest.raises(UserError, match=message):
        random_walk(score_map, looks, **options)
