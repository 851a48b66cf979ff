"""Pictures that show what fit, augment and Normalise do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as F

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images import augment, fit, place
from wsl.images.cuda import resize_planes
from wsl.images.tensors import Normalise

RNG = np.random.default_rng(0)


def test_a_mark_lands_where_the_geometry_says():
    for resize in ("warp", "letterbox"):
        image = np.zeros((120, 200, 3), np.uint8)
        image[30:60, 40:100] = 255
        pixels, geometry = fit(image, Preprocessing(image_size=100, resize=resize, mean=(0, 0, 0)))
        ys, xs = np.nonzero(pixels[:, :, 0] > 127)
        found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert np.allclose(found, geometry.boxes_to_network([[40, 30, 100, 60]])[0], atol=0.51)


def test_letterbox_pads_with_the_mean_on_both_sides():
    image = np.full((20, 40, 3), 200, np.uint8)
    pixels, geometry = fit(image, Preprocessing(image_size=64, resize="letterbox", mean=(0.5, 0.25, 0.0)))
    assert geometry.content == (0, 16, 64, 48)
    for padding in (pixels[:16], pixels[48:]):
        assert np.unique(padding.reshape(-1, 3), axis=0).tolist() == [[128, 64, 0]]
    assert (pixels[16:48] == 200).all()
    padded = Normalise(Preprocessing(mean=(0.5, 0.25, 0.0)))(pixels[None])[0, :, 0, 0]
    assert padded.abs().max() < 0.02, "after normalisation the padding is nothing"


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (20000, 50), (3, 40000), (224, 224)])
def test_any_shape_fits(resize, shape):
    image = np.full((*shape, 3), 9, np.uint8)
    pixels, geometry = fit(image, Preprocessing(image_size=32, resize=resize, mean=(9 / 255,) * 3))
    assert pixels.shape == (32, 32, 3)
    assert pixels.flags.c_contiguous
    assert (pixels == 9).all()
    assert geometry.original == shape[::-1]


def test_shrinking_averages_also_when_the_other_side_grows():
    """Every column of the result is the mean of the twenty that it covers."""
    columns = RNG.integers(0, 256, 640, np.uint8)
    image = np.broadcast_to(columns[None, :, None], (8, 640, 3)).copy()
    pixels, _ = fit(image, Preprocessing(image_size=32))
    assert np.abs(pixels[:, :, 0] - columns.reshape(32, 20).mean(axis=1)).max() <= 1


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
def test_place_is_where_fit_puts_the_image(resize):
    setting = Preprocessing(image_size=64, resize=resize)
    assert place((301, 77), setting) == fit(np.zeros((77, 301, 3), np.uint8), setting)[1]


def test_the_right_size_is_left_alone():
    image = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(fit(image, Preprocessing(image_size=32))[0], image)


@settings(max_examples=60)
@given(st.integers(8, 80), st.integers(8, 80), st.floats(0.05, 0.99), st.integers(0, 999))
def test_a_crop_is_a_window_of_the_image_and_keeps_its_share(height, width, min_crop, seed):
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    crop = augment(image, np.random.default_rng(seed), min_crop, flip=False)
    h, w = crop.shape[:2]
    left, top = crop[0, 0, :2]
    assert np.array_equal(crop, image[top : top + h, left : left + w])
    # Each side was rounded by up to half a pixel.
    assert (h + 0.5) * (w + 0.5) >= min_crop * height * width
    assert (w - 0.5) / width <= 4 / 3 * (h + 0.5) / height
    assert (h - 0.5) / height <= 4 / 3 * (w + 0.5) / width


def test_half_of_the_images_are_mirrored_and_the_rng_decides():
    image = RNG.integers(0, 256, (6, 5, 3), np.uint8)
    found = [augment(image, np.random.default_rng(seed), flip=True) for seed in range(200)]
    mirrored = [np.array_equal(one, image[:, ::-1]) for one in found]
    assert all(flag or np.array_equal(one, image) for flag, one in zip(mirrored, found, strict=True))
    assert 70 < sum(mirrored) < 130
    again = [np.array_equal(augment(image, np.random.default_rng(s), flip=True), image[:, ::-1]) for s in range(200)]
    assert again == mirrored


@pytest.mark.parametrize("as_tensor", [True, False])
def test_normalise_equals_torchvision(as_tensor):
    batch = RNG.integers(0, 256, (3, 32, 24, 3), np.uint8)
    setting = Preprocessing()
    found = Normalise(setting)(torch.from_numpy(batch) if as_tensor else batch)
    images = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(found, F.normalize(images, setting.mean, setting.std), check_stride=False)
    assert found.shape == (3, 3, 32, 24)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_normalise_takes_what_fit_and_numpy_give():
    batch = np.broadcast_to(np.uint8(7), (2, 16, 16, 3))  # read-only and without strides
    normalise = Normalise(Preprocessing())
    assert normalise(batch).dtype == torch.float32
    assert normalise(np.empty((0, 16, 16, 3), np.uint8)).shape == (0, 3, 16, 16)


def test_normalise_leaves_its_input_alone():
    batch = torch.full((1, 16, 16, 3), 7, dtype=torch.uint8)
    Normalise(Preprocessing())(batch)
    assert (batch == 7).all()


@pytest.mark.parametrize("size", [(100, 80), (33, 97), (64, 64), (20, 300), (7, 5)])
def test_planes_on_a_device_are_resized_as_on_the_host(size):
    """One level of rounding: OpenCV rounds bilinear weights to 11 bits, and halves of averages in its own way."""
    image = RNG.integers(0, 256, (*size, 3), np.uint8)
    other = RNG.integers(0, 256, (50, 40, 3), np.uint8)
    planes = [torch.from_numpy(one).permute(2, 0, 1) for one in (image, other)]
    expected, _ = fit(image, Preprocessing(image_size=32))
    found = resize_planes(planes, 32)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit(np.zeros((4, 4), np.uint8), Preprocessing()), r"\(4, 4\), uint8: expected \(H, W, 3\) uint8"),
        (lambda: fit(np.zeros((4, 0, 3), np.uint8), Preprocessing()), "not empty"),
        (lambda: fit(np.zeros((4, 4, 3), np.float32), Preprocessing()), "float32: expected"),
        (lambda: augment(np.zeros((4, 4, 3), np.uint8), RNG, min_crop=0), r"min crop is 0, expected .* in \(0, 1\]"),
        (lambda: Normalise(Preprocessing())(np.zeros((4, 4, 3), np.uint8)), r"expected \(N, H, W, 3\) uint8"),
        (lambda: Normalise(Preprocessing())(torch.zeros(1, 4, 4, 3)), "float32: expected"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
