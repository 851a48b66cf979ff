"""Normalised maps, their fusion over layers, and the maps that know nothing."""

import numpy as np
import pytest
import torch

from wsl.cam.baselines import centre_gaussian, random_maps
from wsl.cam.fuse import fuse
from wsl.cam.minmax import minmax
from wsl.cam.refinecam import refinecam
from wsl.errors import UserError
from wsl.maps import normalise


def layers(count=3, dtype=torch.float64):
    return list(torch.randn(count, 2, 4, 5, dtype=dtype, generator=torch.Generator().manual_seed(0)))


def test_tensors_are_normalised_as_arrays_are():
    maps = torch.stack([*layers(dtype=torch.float32)[0], torch.full((4, 5), 7.0), torch.full((4, 5), torch.nan)])
    maps = torch.cat([maps, maps[:1].clone()])
    maps[-1, 0, 0] = torch.inf
    np.testing.assert_array_equal(minmax(maps).numpy(), normalise(maps.numpy()))


def test_fusions_are_what_their_names_say():
    maps = layers()
    torch.testing.assert_close(fuse(maps), torch.maximum(torch.maximum(maps[0], maps[1]), maps[2]))
    torch.testing.assert_close(fuse(maps, "mean"), (maps[0] + maps[1] + maps[2]) / 3)
    torch.testing.assert_close(fuse(maps, "product"), maps[0] * maps[1] * maps[2])
    assert torch.equal(fuse(maps[:1], "product"), maps[0])


def test_the_product_of_many_halves_does_not_vanish():
    """A float16 product of four would be zero."""
    maps = [torch.full((1, 1), 0.01, dtype=torch.float16)] * 4
    assert fuse(maps, "product").item() == pytest.approx(1e-8, rel=1e-2)


def test_refinecam_multiplies_normalised_maps(reference):
    maps = layers()
    expected = torch.ones(2, 4, 5, dtype=torch.float64)
    for layer in maps:
        for image in range(2):
            expected[image] *= torch.tensor(reference.cams.minmax(layer[image].tolist()))
    torch.testing.assert_close(refinecam(maps), expected)
    torch.testing.assert_close(refinecam([1e6 * maps[0] - 5, *maps[1:]]), refinecam(maps), rtol=1e-9, atol=1e-9)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(UserError, match=r"shapes \[\(2, 4, 5\), \(2, 4, 4\)\], expected one shape: resize them first"):
        fuse([torch.zeros(2, 4, 5), torch.zeros(2, 4, 4)])
    with pytest.raises(UserError, match=r"shapes \[\], expected one shape"):
        refinecam([])
    with pytest.raises(UserError, match="how is 'min', expected 'max', 'mean' or 'product'"):
        fuse(layers(), "min")


def test_random_maps_depend_on_image_class_and_seed_only():
    images = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([[0, 1], [1, 1], [5, 0]])
    maps = random_maps(images, classes, (7, 9))
    assert maps.shape == (3, 2, 7, 9)
    assert torch.equal(maps[1, 0], maps[1, 1])
    assert torch.equal(random_maps(images[2:], classes[2:].flip(1), (7, 9)), maps[2:].flip(1))
    drawn = [*maps[:, 0], maps[0, 1], random_maps(images, classes, (7, 9), seed=1)[0, 0]]
    assert len({tuple(one.flatten().tolist()) for one in drawn}) == 5
    assert 0.4 < float(maps.mean()) < 0.6
    assert random_maps(images.bfloat16(), classes, (7, 9)).shape == maps.shape


def test_the_centre_gaussian_follows_the_sides_of_the_image():
    wide = centre_gaussian((4, 2), sigma=0.5)
    raw = np.exp(-2 * np.add.outer(np.array([0.25, 0.25]) ** 2, np.array([0.375, 0.125, 0.125, 0.375]) ** 2))
    np.testing.assert_allclose(wide, (raw - raw.min()) / (raw.max() - raw.min()), atol=1e-6)
    assert not centre_gaussian((1, 1)).any()
