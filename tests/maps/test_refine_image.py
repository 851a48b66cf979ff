"""Maps refined by the colours of the image: PAMR, a dense CRF, a guided filter, GrabCut."""

import cv2
import numpy as np
import pytest
import torch

from wsl.errors import UserError
from wsl.maps import boxes_from_map
from wsl.maps.refine import crf
from wsl.maps.refine.crf import dense_crf
from wsl.maps.refine.grabcut import grab_cut
from wsl.maps.refine.guided import guided_filter
from wsl.maps.refine.pamr import pixel_adaptive

FUNCTIONS = {"pamr": pixel_adaptive, "crf": dense_crf, "guided": guided_filter, "grabcut": grab_cut}


def photo(seed=0, height=9, width=12):
    """Smooth colours with an edge, as of a photograph, at 8 bits."""
    noise = np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32)
    smooth = np.array([cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in noise])
    smooth[:, :, width // 2 :] += 0.5
    smooth = (smooth - smooth.min()) / max(float(np.ptp(smooth)), 1e-6)
    return np.rint(smooth * 255).astype(np.float32) / np.float32(255)


def score_map(seed=0, height=9, width=12):
    return np.random.default_rng(seed + 100).normal(size=(height, width)).astype(np.float32)


def apply(function, one, image, **options):
    """A refinement of one map of one image, all of them arrays."""
    maps = torch.as_tensor(np.asarray(one, np.float32))[None, None]
    return function(maps, torch.as_tensor(np.asarray(image, np.float32))[None], **options)[0, 0].numpy()


# ----------------------------------------------------------------------------------------------- against definitions


@pytest.mark.parametrize(("iterations", "dilations"), [(1, (1,)), (3, (1, 2)), (10, (1, 2, 4, 8, 12, 24))])
def test_pamr_is_the_slow_one(reference, iterations, dilations):
    options = {"iterations": iterations, "dilations": dilations}
    slow = reference.refine_image.pamr(score_map(), photo(), **options)
    np.testing.assert_allclose(apply(pixel_adaptive, score_map(), photo(), **options), slow, atol=1e-5)


def test_pamr_departs_from_the_paper_s_code_by_less_than_a_hundredth_of_the_range(reference):
    """Its constant beside the deviation is 1e-8."""
    slow = reference.refine_image.pamr(score_map(), photo(), flat=1e-8)
    assert np.abs(apply(pixel_adaptive, score_map(), photo()) - slow).max() < 0.01 * np.ptp(score_map())


CRF = {"iterations": 5, "near": 0.1, "near_weight": 3.0, "far": 0.3, "colour": 0.1, "far_weight": 10.0, "level": 0.3}


@pytest.mark.parametrize("iterations", [0, 1, 5, 10])
@pytest.mark.parametrize("clip", [1e-5, 0.3])
def test_the_crf_is_the_slow_one(reference, iterations, clip):
    options = {**CRF, "iterations": iterations, "clip": clip}
    slow = reference.refine_image.crf(score_map(), photo(), **options)
    np.testing.assert_allclose(apply(dense_crf, score_map(), photo(), **options), slow, atol=1e-4)


def test_the_default_widths_on_a_grid_of_their_size_are_the_slow_ones(reference):
    names = ("iterations", "near", "near_weight", "far", "colour", "far_weight", "level")
    defaults = {name: dense_crf.__kwdefaults__[name] for name in names}
    slow = reference.refine_image.crf(score_map(0, 20, 16), photo(0, 20, 16), **defaults)
    np.testing.assert_allclose(apply(dense_crf, score_map(0, 20, 16), photo(0, 20, 16)), slow, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 108, 1000, 108 * 107])
def test_a_kernel_in_parts_is_the_whole_one(monkeypatch, chunk):
    whole = apply(dense_crf, score_map(), photo(), **CRF)
    monkeypatch.setattr(crf, "_CHUNK", chunk)
    np.testing.assert_allclose(apply(dense_crf, score_map(), photo(), **CRF), whole, atol=1e-5)


@pytest.mark.parametrize("radius", [0, 1, 3, 40])
@pytest.mark.parametrize("eps", [1e-4, 1e-2])
def test_the_guided_filter_is_the_slow_one(reference, radius, eps):
    slow = reference.refine_image.guided(score_map(), photo(), radius, eps)
    fast = apply(guided_filter, score_map(), photo(), radius=radius, eps=eps)
    np.testing.assert_allclose(fast, slow, atol=2e-4 * np.ptp(score_map()))


def test_the_guided_filter_of_a_grey_image_is_the_slow_one(reference):
    """Its channels are equal, so that without eps no slope would be determined."""
    grey = np.repeat(photo()[:1], 3, axis=0)
    slow = reference.refine_image.guided(score_map(), grey, 2, 1e-4)
    fast = apply(guided_filter, score_map(), grey, radius=2, eps=1e-4)
    np.testing.assert_allclose(fast, slow, atol=1e-3 * np.ptp(score_map()))


def test_grabcut_is_opencv_s_own():
    across, along = np.mgrid[-11.5:12, -15.5:16]
    image, one = 0.4 * photo(0, 24, 32), np.exp(-(across**2 + along**2) / 60).astype(np.float32)
    image[0, 6:18, 8:24] += 0.6
    fractions = (one - one.min()) / np.ptp(one)
    mask = np.where(fractions > 0.3, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[fractions >= 0.7] = cv2.GC_FGD
    cv2.setRNGSeed(0)
    pixels = np.ascontiguousarray(np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8))
    cv2.grabCut(pixels, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    expected = np.where(mask % 2, one.max(), one.min())
    assert 0 < (mask % 2).mean() < 1
    np.testing.assert_allclose(apply(grab_cut, one, image, sure=0.7, probable=0.3), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["pamr", "crf", "guided"])
def test_on_a_coarser_grid_they_are_the_slow_ones_of_averaged_colours(reference, name):
    one, image = score_map(0, 5, 7), photo(0, 30, 44)
    resized, guide = reference.refine_image.working(one, image, 11)
    options = {"pamr": {}, "crf": CRF, "guided": {"radius": 3, "eps": 1e-2}}[name]
    # Resizing shrinks the range, and results have that of the map.
    ends = {} if name == "pamr" else {"ends": (one.min(), one.max())}
    slow = getattr(reference.refine_image, name)(resized, guide, **options, **ends)
    fast = apply(FUNCTIONS[name], one, image, cells=11, **options)
    np.testing.assert_allclose(fast, slow, atol=1e-3 * np.ptp(one))


# ------------------------------------------------------------------------------------------------- what they are for


@pytest.mark.parametrize("name", ["pamr", "crf", "grabcut"])
def test_a_part_becomes_the_whole_object(name):
    """A map that is high in the middle of a patch of one colour fills the patch, whose box is then the object's."""
    image = np.full((3, 16, 16), 0.2, np.float32)
    image[0, 4:12, 3:13] = 0.9
    across, along = np.mgrid[-7.5:8, -7.5:8]
    part = np.exp(-(across**2 + along**2) / 20).astype(np.float32)
    assert boxes_from_map(part, threshold=0.5).xyxy.tolist() == [[4, 4, 12, 12]]
    options = {"pamr": {"iterations": 30}, "crf": {}, "grabcut": {}}[name]
    refined = apply(FUNCTIONS[name], part, image, **options)
    assert boxes_from_map(refined, threshold=0.5).xyxy.tolist() == [[3, 4, 13, 12]]


def test_the_guided_filter_moves_the_map_s_edge_to_the_image_s():
    """A map that ends beside an edge of the image ends at the edge, and is as sharp."""
    image = np.zeros((3, 16, 16), np.float32)
    image[:, :, 8:] = 1
    blurred = np.clip((np.arange(16) - 5) / 6, 0, 1).repeat(16).reshape(16, 16).T
    refined = apply(guided_filter, blurred, image, radius=4, eps=1e-4)
    steps = np.diff(refined, axis=1)
    assert (steps[:, 7] > 2.5 * np.delete(steps, 7, axis=1).max(axis=1)).all()


def test_where_the_image_has_one_colour_the_guided_filter_is_a_mean_of_means():
    one = score_map()
    mean = one
    for _ in range(2):
        mean = np.array(
            [[mean[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].mean() for x in range(12)] for y in range(9)]
        )
    for colour in (0.0, 0.3, 1.0):
        image = np.full((3, 9, 12), colour, np.float32)
        np.testing.assert_allclose(apply(guided_filter, one, image, radius=2), mean, atol=1e-5)


def test_without_texture_pamr_is_a_mean_of_neighbours():
    one = np.zeros((5, 5), np.float32)
    one[2, 2] = 8
    for colour in (0.0, 0.3, 1.0):
        image = np.full((3, 50, 50), colour, np.float32)  # averaging rounds
        refined = apply(pixel_adaptive, one, image, dilations=(1,), iterations=1, cells=5)
        np.testing.assert_allclose(refined[1:4, 1:4], [[1, 1, 1], [1, 0, 1], [1, 1, 1]], atol=0.05)


def test_pamr_is_linear_so_that_a_background_channel_changes_no_map():
    one, other, image = score_map(0), score_map(1), photo()
    both = apply(pixel_adaptive, one + 2 * other, image)
    apart = apply(pixel_adaptive, one, image) + 2 * apply(pixel_adaptive, other, image)
    np.testing.assert_allclose(both, apart, atol=1e-4)


def test_without_neighbours_the_crf_keeps_what_is_higher():
    one, image = score_map(), photo()
    alone = apply(dense_crf, one, image, iterations=0, level=0.5)
    np.testing.assert_allclose(alone, one, atol=1e-4)
    shifted = apply(dense_crf, one, image, iterations=0, level=0.3)
    fractions, probabilities = ((x - one.min()) / np.ptp(one) for x in (one, shifted))
    np.testing.assert_array_equal(fractions > 0.3, probabilities > 0.5)


# ----------------------------------------------------------------------------------------------------------- GrabCut


def test_grabcut_neither_reads_nor_moves_the_caller_s_random_numbers():
    one, image = score_map(0, 24, 32), photo(0, 24, 32)
    results, after = [], []
    for seed in (1, 2):
        cv2.setRNGSeed(seed)
        results.append(apply(grab_cut, one, image))
        after.append(cv2.randu(np.zeros((1, 4), np.float32), 0, 1))
        cv2.setRNGSeed(seed)
        np.testing.assert_array_equal(after[-1], cv2.randu(np.zeros((1, 4), np.float32), 0, 1))
    np.testing.assert_array_equal(*results)
    assert (after[0] != after[1]).any()


def test_grabcut_has_two_values_the_ends_of_the_map_s_range():
    one = score_map(0, 24, 32)
    np.testing.assert_allclose(np.unique(apply(grab_cut, one, photo(0, 24, 32))), [one.min(), one.max()], rtol=1e-6)


def test_where_grabcut_finds_no_background_the_lowest_cells_stay_it():
    """So that the map has contrast and its box is nearly the whole image."""
    one = np.full((8, 8), 0.9, np.float32)
    one[0, 0], one[4, 4] = 0, 1
    expected = np.ones((8, 8))
    expected[0, 0] = 0
    np.testing.assert_array_equal(apply(grab_cut, one, np.full((3, 8, 8), 0.5)), expected)


# ------------------------------------------------------------------------------------------------------ bad arguments


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize(
    ("maps", "image", "options", "message"),
    [
        ((2, 2), (1, 3, 2, 2), {}, r"maps have shape \(2, 2\), expected \(N, J, h, w\)"),
        ((1, 1, 0, 2), (1, 3, 2, 2), {}, r"maps have shape \(1, 1, 0, 2\)"),
        ((1, 1, 2, 2), None, {}, "no image, expected one"),
        ((1, 1, 2, 2), (3, 2, 2), {}, r"the image has shape \(3, 2, 2\), expected \(1, 3, H, W\)"),
        ((2, 1, 2, 2), (1, 3, 2, 2), {}, r"expected \(2, 3, H, W\)"),
        ((1, 1, 2, 2), (1, 4, 2, 2), {}, "the image has shape"),
        ((1, 1, 2, 2), (1, 3, 2, 0), {}, "the image has shape"),
        ((1, 1, 2, 2), (1, 3, 2, 2), {"cells": 0}, "cells is 0"),
    ],
)
def test_bad_tensors(function, maps, image, options, message):
    with pytest.raises(UserError, match=message):
        function(torch.ones(maps), None if image is None else torch.ones(image), **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pamr", {"iterations": -1}, "iterations -1"),
        ("pamr", {"dilations": ()}, r"dilations \(\)"),
        ("pamr", {"dilations": (1, 0)}, r"dilations \(1, 0\)"),
        ("crf", {"iterations": -1}, "iterations -1"),
        ("crf", {"far": 0}, "far 0"),
        ("crf", {"colour": -1}, "colour -1"),
        ("crf", {"near_weight": -1}, "near weight -1"),
        ("crf", {"level": 1}, "level 1"),
        ("crf", {"clip": 0.5}, "clip 0.5"),
        ("guided", {"radius": -1}, "radius -1"),
        ("guided", {"eps": 0}, "eps 0"),
        ("guided", {"eps": np.nan}, "eps nan"),
        ("grabcut", {"sure": 0.1}, "sure 0.1"),
        ("grabcut", {"sure": 1.5}, "sure 1.5"),
        ("grabcut", {"iterations": 0}, "iterations 0"),
    ],
)
def test_bad_settings(name, options, message):
    with pytest.raises(UserError, match=message):
        FUNCTIONS[name](torch.ones(1, 1, 2, 2), torch.ones(1, 3, 2, 2), **options)
