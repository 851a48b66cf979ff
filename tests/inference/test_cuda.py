"""A GPU finds what the CPU finds, where there is one: every refinement, files that it decodes, and CAM methods."""

import itertools

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

import wsl
from wsl.cam import METHODS
from wsl.maps.refine import REFINEMENTS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """Convolutions in float32, too, which are in TF32 by default."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def decoding(new_model):
    """Two levels of intermediate features, and a decoder of random weights."""
    model = new_model("resnet18")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = model.add_decoder()
        torch.nn.init.normal_(decoder.classify.weight)
        model.train()
        with torch.no_grad():  # running statistics, without which logits are all large
            for _ in range(3):
                model.for_inference(torch.device("cpu"), torch.float32)(torch.randn(8, 3, 64, 64), taps=True)
    return model.eval()


def assert_close(found, expected, tolerance):
    assert (found.size, list(found.maps)) == (expected.size, list(expected.maps))
    assert found.scores == pytest.approx(expected.scores, abs=tolerance)
    for label, values in expected.maps.items():
        np.testing.assert_allclose(found.maps[label], values, rtol=0, atol=tolerance * max(1e-3, np.ptp(values)))


@pytest.mark.parametrize("tta", [(), ("flip", 64, 96)])
@pytest.mark.parametrize("refine", ["none", *REFINEMENTS])
def test_every_refinement(decoding, photos, refine, tta):
    settings = {"top_k": 3, "refine": refine, "tta": tta, "precision": "fp32"}
    expected = wsl.Predictor(decoding, device="cpu", **settings)(photos)
    for found, one in zip(wsl.Predictor(decoding, device=DEVICE, **settings)(photos), expected, strict=True):
        # Near ties of the last two may fall either way, by which single cells differ.
        assert_close(found, one, 0.5 if refine in ("crf", "grabcut") else 2e-3)
        for label, values in one.maps.items():
            assert np.mean(np.abs(found.maps[label] - values) > 1e-2 * np.ptp(values)) <= 0.01


@pytest.mark.parametrize("resize", ["warp", "letterbox"])
def test_files(new_model, photos, encoded, tmp_path, resize):
    """JPEGs that the device decodes among files that it does not; its rounding may differ by some levels of 255."""
    model = new_model("resnet18", preprocessing={"resize": resize})
    paths = []
    for (number, photo), kind in zip(enumerate(photos), itertools.cycle(["JPEG", "PNG", "JPEG"]), strict=False):
        paths.append(tmp_path / f"{number}.{kind.lower()}")
        paths[-1].write_bytes(encoded(photo, kind))
    expected = wsl.Predictor(model, refine="affinity", device="cpu", precision="fp32")(paths)
    predictor = wsl.Predictor(model, refine="affinity", device=DEVICE, precision="fp32", batch_size=4)
    found = list(predictor.stream(paths * 20, errors="raise"))
    assert [one.path for one in found] == paths * 20
    for one, other in zip(found, itertools.cycle(expected), strict=False):
        assert one.size == other.size
        assert one.scores == pytest.approx(other.scores, abs=0.1)
    for one, again in zip(found, found[len(paths) :], strict=False):
        assert one.scores == pytest.approx(again.scores, abs=1e-4)
    alone = predictor(paths[0])  # a batch of one
    assert alone.scores == pytest.approx(found[0].scores, abs=1e-4)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"legrad", "rollout", "gradient-rollout", "random"}))
def test_cam_methods(method):
    """Of a network that is on the device already, and of a model that is made there."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, images = resnet18(num_classes=5).eval(), torch.randn(2, 3, 64, 64)
    expected = wsl.cam(net, images, [0, 3, 4], method=method)
    found = wsl.cam(net.to(DEVICE), images.to(DEVICE), [0, 3, 4], method=method).cpu()
    scale = expected.abs().amax((2, 3), keepdim=True).clamp(min=1e-9)
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=2e-3)
