"""Where maps lie on the image: where their cells look, or as equal parts of it."""

import numpy as np
import torch

from wsl import Localizer, Predictor


def test_maps_that_are_not_aligned_are_equal_parts_of_the_image():
    """A padded network looks at the pixels 0, 32, …: resized plainly its maps lie half a cell further down."""
    torch.manual_seed(0)
    model = Localizer("resnet18", num_classes=2, weights=None).eval()
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    settings = {"classes": model.classes, "refine": "none", "device": "cpu", "precision": "fp32", "image_size": 224}
    aligned, plain = (Predictor(model, aligned=aligned, **settings) for aligned in (True, False))
    with torch.inference_mode():
        raw = model(plain.images([plain.prepare(image)])).maps[0].numpy()
    assert aligned(image).scores == plain(image).scores
    for label, of_network in zip(model.classes, raw, strict=True):
        np.testing.assert_allclose(plain(image).maps[label], of_network, atol=1e-3)
        moved = aligned(image).maps[label]
        assert moved.shape != of_network.shape or not np.allclose(moved, of_network, atol=0.05)
