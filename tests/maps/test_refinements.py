"""What every refinement of the registry promises."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.config import Refine
from wsl.config.shared import BOX_DEFAULTS
from wsl.maps.refine import REFINEMENTS

every = pytest.mark.parametrize("refine", [one.apply for one in REFINEMENTS.values()], ids=REFINEMENTS)


def batch(seed=0, images=1, classes=2, grid=(6, 9), size=(24, 36)):
    rng = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, classes, *grid, generator=rng)
    image = torch.nn.functional.interpolate(torch.rand(images, 3, 4, 6, generator=rng), size, mode="bilinear")
    features = [torch.randn(images, 8, *side, generator=rng) for side in ((8, 12), (4, 6))]
    return maps, image, features


def test_every_setting_has_its_refinement_and_its_threshold():
    assert set(REFINEMENTS) == set(get_args(Refine)) - {"auto", "none"}
    assert set(BOX_DEFAULTS) == set(get_args(Refine)) - {"auto"}


@pytest.mark.parametrize(("name", "one"), REFINEMENTS.items(), ids=REFINEMENTS)
def test_a_refinement_says_what_it_reads(name, one):
    """What it does not read makes no difference, and need not be there."""
    maps, image, features = batch()
    everything = one.apply(maps, image, features)
    read = image if one.reads_image else None, features if one.reads_features else []
    assert torch.equal(one.apply(maps, *read), everything)
    assert one.reads_image or one.reads_features


@every
def test_results_do_not_depend_on_the_other_images_of_the_batch(refine):
    maps, image, features = batch(images=6)
    image[3], maps[4] = 0.3, 7
    features[0][3] = 7
    together = refine(maps, image, features)
    for i in range(6):
        rows = slice(i, i + 1)
        alone = refine(maps[rows], image[rows], [layer[rows] for layer in features])
        torch.testing.assert_close(together[rows], alone, atol=1e-4, rtol=1e-4)


@every
def test_maps_of_an_image_are_refined_each_by_itself(refine):
    maps, image, features = batch(classes=3)
    torch.testing.assert_close(
        refine(maps, image, features)[:, 2:], refine(maps[:, 2:], image, features), atol=1e-4, rtol=1e-4
    )


@every
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    grid=st.tuples(*[st.integers(1, 9)] * 2),
    size=st.tuples(*[st.integers(1, 40)] * 2),
)
def test_any_size_stays_finite_and_within_each_map_s_range(refine, seed, grid, size):
    maps, image, features = batch(seed, grid=grid, size=size)
    refined = refine(maps, image, features)
    assert refined.shape[:2] == (1, 2)
    assert refined.isfinite().all()
    slack = 1e-5 * maps.abs().max()
    assert (refined >= maps.amin((2, 3), keepdim=True) - slack).all()
    assert (refined <= maps.amax((2, 3), keepdim=True) + slack).all()


@every
@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (25, 37)])
def test_one_row_one_column_and_odd_sides(refine, size):
    maps, image, features = batch(size=size)
    assert refine(maps, image, features).isfinite().all()
    assert refine(maps[..., :1, :1], image, features).isfinite().all()


@every
@pytest.mark.parametrize("value", [0.0, 0.1, -1000.3])
def test_a_constant_map_stays_constant(refine, value):
    maps, image, features = batch()
    assert (refine(torch.full_like(maps, value), image, features) == torch.tensor(value)).all()


@every
@pytest.mark.parametrize("colour", [0.0, 0.1, 1.0])
def test_an_image_of_one_colour_stays_finite(refine, colour):
    maps, image, features = batch()
    refined = refine(maps, torch.full_like(image, colour), [torch.full_like(layer, colour) for layer in features])
    assert refined.isfinite().all()


@every
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_unit_of_a_map_does_not_matter(refine, scale):
    maps, image, features = batch()
    expected = refine(maps, image, features) * scale
    torch.testing.assert_close(refine(maps * scale, image, features), expected, atol=1e-3 * scale, rtol=0)


@every
def test_a_map_of_nan_stays_one_and_spoils_no_other(refine):
    maps, image, features = batch()
    spoilt = maps.clone()
    spoilt[:, 0, 0, 0] = torch.nan
    refined = refine(spoilt, image, features)
    assert refined[:, 0].isnan().all()
    torch.testing.assert_close(refined[:, 1], refine(maps, image, features)[:, 1])


@every
@pytest.mark.parametrize(("images", "classes"), [(0, 2), (2, 0), (0, 0)])
def test_no_image_and_no_class(refine, images, classes):
    refined = refine(*batch(images=images or 1, classes=classes or 1))[:images, :classes]
    maps, image, features = batch(images=images or 1)
    maps = maps[:images, :classes]
    empty = refine(maps, image[:images], [layer[:images] for layer in features])
    assert empty.shape == refined.shape
    assert empty.dtype == torch.float32


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_computed_in_float32(refine, dtype):
    maps, image, features = batch()
    maps, image, features = maps.to(dtype), image.to(dtype), [layer.to(dtype) for layer in features]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        refined = refine(maps, image, features)
    assert refined.dtype == torch.float32
    expected = refine(maps.float(), image.float(), [layer.float() for layer in features])
    torch.testing.assert_close(refined, expected)


@every
def test_it_has_no_gradient_and_leaves_its_arguments(refine):
    maps, image, features = batch()
    tensors = [tensor.requires_grad_() for tensor in (maps, image, *features)]
    before = [tensor.detach().clone() for tensor in tensors]
    assert not refine(maps, image, features).requires_grad
    assert all(map(torch.equal, tensors, before))


@every
def test_channels_last_tensors_are_the_same(refine):
    maps, image, features = batch(images=2)
    turned = [tensor.to(memory_format=torch.channels_last) for tensor in (maps, image, *features)]
    expected = refine(maps, image, features)
    torch.testing.assert_close(refine(turned[0], turned[1], turned[2:]), expected, atol=1e-4, rtol=1e-4)


@every
def test_it_is_the_same_each_time(refine):
    arguments = batch()
    np.testing.assert_array_equal(refine(*arguments), refine(*arguments))
