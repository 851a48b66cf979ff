"""The network's own input, and what it says of images that somebody changed: what questions to a model are built of."""

import numpy as np
import pytest
import torch

from wsl.config import Preprocessing
from wsl.errors import UserError
from wsl.images.tensors import Normalise
from wsl.inference import Predictor


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
def test_prepared_images_asked_again_give_the_scores_of_the_localization(new_model, photos, resize):
    predictor = Predictor(new_model("tinynet", preprocessing={"resize": resize}), device="cpu", precision="fp32")
    prepared = [predictor.prepare(photo) for photo in photos]
    probabilities = predictor.probabilities(predictor.images(prepared))
    assert probabilities.dtype == torch.float64
    for found, row in zip(predictor(photos), probabilities, strict=True):
        expected = [found.scores[name] for name in predictor.classes]
        np.testing.assert_allclose(row.numpy(), expected, rtol=1e-5)


def test_images_are_the_prepared_pixels_normalised(predictor, photos):
    prepared = [predictor.prepare(photo) for photo in photos]
    pixels = np.stack([one.pixels for one in prepared])
    assert torch.equal(predictor.images(prepared), Normalise(predictor.preprocessing)(pixels))


def test_no_images_at_all(predictor):
    images = predictor.images([])
    assert images.shape == (0, 3, 64, 64)
    assert predictor.probabilities(images).shape == (0, 4)


def test_the_callers_images_stay_as_they_are(predictor, photos):
    images = predictor.images([predictor.prepare(photo) for photo in photos])
    before = images.clone()
    predictor.probabilities(images)
    assert torch.equal(images, before)
    images.mul_(0.5)  # no tensor of inference mode, which could not be changed


@pytest.mark.parametrize(
    "images", [torch.zeros(3, 64, 64), torch.zeros(1, 3, 64, 32), torch.zeros(1, 3, 64, 64).byte()]
)
def test_images_of_another_shape_are_refused(predictor, images):
    with pytest.raises(UserError, match=r"take them from Predictor\.images"):
        predictor.probabilities(images)


def test_the_size_asked_for_is_that_of_the_images(tinynet, photos):
    predictor = Predictor(tinynet, image_size=96, device="cpu")
    assert predictor.preprocessing == Preprocessing(image_size=96)
    assert predictor.images([predictor.prepare(photos[0])]).shape == (1, 3, 96, 96)
