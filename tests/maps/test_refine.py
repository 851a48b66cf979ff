"""Class maps spread over similar cells, and over nothing else."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.maps import boxes_from_map, random_walk, resize_map


def features(seed=0, channels=6, height=5, width=7):
    return np.random.default_rng(seed).normal(size=(channels, height, width)).astype(np.float32)


def walk(score_map, layers, **options):
    """The random walk of one map of one image, all of them arrays."""
    maps = torch.as_tensor(np.asarray(score_map, np.float32))[None, None]
    return random_walk(maps, [torch.as_tensor(np.ascontiguousarray(f))[None] for f in layers], **options)[0, 0].numpy()


@pytest.mark.parametrize(("power", "steps"), [(2, 3), (1, 1), (4, 5)])
def test_the_walk_is_the_slow_one(reference, power, steps):
    layers, score_map = [features(), features(1, 3)], np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    slow = reference.refine.random_walk(score_map, layers, power=power, steps=steps)
    np.testing.assert_allclose(walk(score_map, layers, power=power, steps=steps), slow, atol=1e-5)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(*[st.integers(1, 9)] * 2),
    grids=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
    cells=st.integers(1, 12),
)
def test_any_grids_walk_as_the_slow_one(reference, seed, shape, grids, cells):
    rng = np.random.default_rng(seed)
    score_map = rng.normal(size=shape).astype(np.float32)
    layers = [rng.normal(size=(5, *grid)).astype(np.float32) for grid in grids]
    slow = reference.refine.random_walk(score_map, layers, cells=cells)
    np.testing.assert_allclose(walk(score_map, layers, cells=cells), slow, atol=1e-4 * np.ptp(score_map) + 1e-6)


def backbone_like(seed, channels, side):
    """Features as after a ReLU6: smooth, sparse, and far from zero mean."""
    noise = np.random.default_rng(seed).normal(size=(channels, side, side)).astype(np.float32)
    return np.clip(np.array([cv2.GaussianBlur(channel, (0, 0), side / 12) for channel in noise]) * side / 4, 0, 6)


def test_features_of_a_backbone_walk_as_the_slow_one(reference):
    layers = [backbone_like(0, 192, 72), backbone_like(1, 576, 36)]
    score_map = backbone_like(2, 1, 18)[0]
    slow = reference.refine.random_walk(score_map, layers)
    np.testing.assert_allclose(walk(score_map, layers), slow, atol=1e-4 * np.ptp(slow))


def test_a_batch_is_each_image_alone():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(8, 2, 9, 9, generator=rng)
    layers = [torch.randn(8, 12, 24, 18, generator=rng), torch.randn(8, 20, 12, 9, generator=rng)]
    layers[0][3], layers[1][3] = 7, 0
    together = random_walk(maps, layers, cells=12)
    assert together.shape == (8, 2, 12, 9)
    for i in range(8):
        alone = random_walk(maps[i : i + 1], [layer[i : i + 1] for layer in layers], cells=12)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("images", "classes"), [(0, 2), (2, 0), (0, 0)])
def test_no_image_and_no_class(images, classes):
    walked = random_walk(torch.ones(images, classes, 3, 4), [torch.ones(images, 5, 6, 8)])
    assert walked.shape == (images, classes, 6, 8)
    assert walked.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_computed_in_float32(dtype):
    maps, layer = torch.randn(1, 2, 4, 4).to(dtype), torch.randn(1, 6, 8, 8).to(dtype)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        walked = random_walk(maps, [layer])
    assert walked.dtype == torch.float32
    torch.testing.assert_close(walked, random_walk(maps.float(), [layer.float()]))


def test_it_has_no_gradient_and_leaves_its_arguments():
    maps, layer = torch.randn(1, 2, 4, 4, requires_grad=True), torch.randn(1, 6, 4, 4, requires_grad=True)
    before = maps.detach().clone(), layer.detach().clone()
    assert not random_walk(maps, [layer]).requires_grad
    assert torch.equal(maps, before[0])
    assert torch.equal(layer, before[1])


def test_channels_last_features_are_the_same():
    maps, layer = torch.randn(2, 3, 4, 4), torch.randn(2, 6, 12, 12)
    turned = layer.to(memory_format=torch.channels_last)
    torch.testing.assert_close(random_walk(maps, [turned], cells=6), random_walk(maps, [layer], cells=6))


def test_a_part_becomes_the_whole_object_and_nothing_more():
    """One high cell in a patch of equal features fills the patch, whose box is then the object's."""
    looks = np.full((3, 12, 12), -1, np.float32)
    looks[:, 3:9, 2:10] = 2
    part = np.zeros((12, 12), np.float32)
    part[4, 3] = 1
    walked = walk(part, [looks])
    inside = walked[3:9, 2:10]
    np.testing.assert_allclose(inside, inside[0, 0])
    assert inside[0, 0] > 0
    assert boxes_from_map(walked, threshold=0.5).xyxy.tolist() == [[2, 3, 10, 9]]
    walked[3:9, 2:10] = 0
    assert (walked == 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5))
def test_values_stay_within_the_map_s_range(seed, power, steps):
    rng = np.random.default_rng(seed)
    score_map = rng.normal(size=(4, 4)).astype(np.float32) * np.float32(10.0 ** rng.integers(-3, 4))
    walked = walk(score_map, [rng.normal(size=(3, 4, 4))], power=power, steps=steps)
    slack = 1e-5 * np.abs(score_map).max()
    assert score_map.min() - slack <= walked.min()
    assert walked.max() <= score_map.max() + slack


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_features_count_by_their_direction_alone(scale):
    """Neither their unit, nor what the whole image shares, nor the order of channels matters."""
    score_map = np.random.default_rng(3).normal(size=(5, 7))
    looks = features()
    same = (looks * np.float32(scale) + np.float32(3 * scale))[::-1]
    np.testing.assert_allclose(walk(score_map, [same]), walk(score_map, [looks]), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 3e4])
def test_an_image_of_equal_features_keeps_its_map(value):
    """The rounding of a mean is no similarity."""
    score_map = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    looks = np.full((5, 16, 16), value, np.float32)
    np.testing.assert_allclose(walk(score_map, [looks]), score_map, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, -1000.3])
def test_a_constant_map_stays_constant(value):
    assert (walk(np.full((3, 4), value), [features()]) == np.float32(value)).all()


def test_one_cell():
    assert walk([[3.5]], [features(0, 4, 1, 1)]).tolist() == [[3.5]]
    assert walk([[1.0, 2.0]], [features(0, 4, 6, 6)], cells=1).tolist() == [[1.5]]


def test_maps_walk_each_on_its_own():
    maps, layer = torch.randn(1, 3, 4, 4), torch.randn(1, 6, 5, 7)
    torch.testing.assert_close(random_walk(maps, [layer])[:, 2:], random_walk(maps[:, 2:], [layer]))


def test_without_a_step_the_map_is_only_resized():
    score_map = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(walk(score_map, [features()], steps=0), resize_map(score_map, (7, 5)), atol=1e-6)


@pytest.mark.parametrize(
    ("given_shape", "cells", "expected"),
    [((72, 72), 24, (24, 24)), ((72, 54), 24, (24, 18)), ((18, 18), 24, (18, 18)), ((2, 90), 24, (1, 24))],
)
def test_the_grid_is_the_features_own_or_a_coarser_one_of_its_shape(given_shape, cells, expected):
    assert walk(np.eye(3), [features(0, 2, *given_shape)], cells=cells).shape == expected


def test_finer_features_are_averaged():
    coarse = features(0, 3, 4, 4)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    score_map = np.random.default_rng(0).normal(size=(4, 4))
    np.testing.assert_allclose(walk(score_map, [fine], cells=4), walk(score_map, [coarse]), atol=1e-5)


def test_a_map_of_nan_stays_without_contrast():
    assert len(boxes_from_map(walk([[np.nan, 1], [0, 1]], [features(0, 2, 2, 2)]))) == 0


def test_coarser_layers_are_interpolated_to_the_finest():
    looks = np.full((1, 6, 8), -1, np.float32)
    looks[:, :, :4] = 1
    coarse = looks[:, ::2, ::2]
    score_map = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    for layers in ([looks, coarse], [coarse, looks]):
        walked = walk(score_map, layers)
        assert walked.shape == (6, 8)
        assert np.ptp(walked[:, :3]) < 0.2 * np.ptp(score_map[:, :3])


@pytest.mark.parametrize(
    ("maps", "layers", "options", "message"),
    [
        ((2, 2), [(1, 2, 2, 2)], {}, r"maps have shape \(2, 2\), expected \(N, J, h, w\)"),
        ((1, 1, 0, 2), [(1, 2, 2, 2)], {}, r"maps have shape \(1, 1, 0, 2\)"),
        ((1, 1, 1, 1), [], {}, "no features"),
        ((1, 1, 1, 1), [(2, 2)], {}, r"features have shape \(2, 2\), expected \(1, channels, h, w\)"),
        ((1, 1, 1, 1), [(1, 2, 2, 2), (1, 0, 2, 2)], {}, "features have shape"),
        ((2, 1, 1, 1), [(1, 2, 2, 2)], {}, r"expected \(2, channels, h, w\)"),
        ((1, 1, 1, 1), [(1, 2, 2, 2)], {"power": 0}, "power 0"),
        ((1, 1, 1, 1), [(1, 2, 2, 2)], {"steps": -1}, "steps -1"),
        ((1, 1, 1, 1), [(1, 2, 2, 2)], {"cells": 0}, "cells 0"),
    ],
)
def test_bad_arguments(maps, layers, options, message):
    with pytest.raises(UserError, match=message):
        random_walk(torch.ones(maps), [torch.ones(layer) for layer in layers], **options)
