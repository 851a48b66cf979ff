"""The linear probe: what it reads, that the maps stay the head's, and how it is kept with its model."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsl import Predictor, config
from wsl.checkpoints import Recipe
from wsl.errors import UserError
from wsl.models import (
    CamLocalizer,
    LinearProbe,
    Localizer,
    OnnxLocalizer,
    export_model,
    load,
    pack,
    pooled_features,
    save,
    unpack,
)

CPU = torch.device("cpu")


def by_hand(model: Localizer, images: torch.Tensor) -> torch.Tensor:
    """Scores of the probe, image by image in double precision."""
    features, probe = model.backbone(images).double(), model.probe.double()
    scores = []
    for one in features:
        parts = [one.mean((1, 2)), one.amax((1, 2))]
        if probe.classifier is not None:
            weight, bias = probe.classifier.weight, probe.classifier.bias
            cells = [F.softmax(weight @ cell + bias, 0) for cell in one.flatten(1).T]
            parts += [F.softmax(weight @ parts[0] + bias, 0), torch.stack(cells).amax(0)]
        root = torch.cat([part.sign() * part.abs().sqrt() for part in parts])
        scores.append(probe.linear.weight @ root + probe.linear.bias)
    probe.float()
    return torch.stack(scores)


@pytest.fixture(params=[0, 7])
def model(request) -> Localizer:
    torch.manual_seed(0)
    model = Localizer("tinynet", classes=["cat", "dog"], weights="none")
    probe = model.add_probe(request.param)
    if probe.classifier is not None:
        nn.init.normal_(probe.classifier.weight)  # decided ones
    return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 96, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_scores_are_the_probe_s_and_maps_the_head_s(model, images):
    expected = by_hand(model, images).float()
    plain = model.head(model.backbone(images))
    scores, maps = model(images)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(maps, plain.maps)
    assert not torch.allclose(scores, plain.scores, atol=1e-2)
    everything = torch.arange(2).expand(3, 2)
    for taps in (False, True):
        found = model.for_inference(CPU, torch.float32)(images, taps=taps)
        torch.testing.assert_close(found.scores, expected, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.maps_of(everything), maps, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pooling", ["weldon(k_max=0.2, k_min=0.2)", "netvlad(clusters=4)"])
def test_any_head_has_a_probe(pooling, images):
    model = Localizer("tinynet", 2, pooling=pooling, weights="none").eval()
    before = model.for_inference(CPU, torch.float32)(images)
    model.add_probe()
    after = model.for_inference(CPU, torch.float32)(images)
    with torch.no_grad():
        torch.testing.assert_close(after.scores.double(), by_hand(model, images), rtol=1e-3, atol=1e-4)
    classes = torch.tensor([[0], [1], [1]])
    assert torch.equal(after.maps_of(classes), before.maps_of(classes))


def test_a_predictor_gives_its_probabilities(model):
    image = np.random.default_rng(0).integers(0, 255, (224, 224, 3)).astype(np.uint8)
    found = Predictor(model, device="cpu", precision="fp32", max_scores=None)(image)
    mean, std = (torch.tensor(value)[:, None, None] for value in (model.preprocessing.mean, model.preprocessing.std))
    with torch.no_grad():
        scores = by_hand(model, (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 - mean) / std)
    expected = dict(zip(model.classes, scores[0].sigmoid().tolist(), strict=True))
    assert found.scores == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_lower_precision_keeps_the_probe_in_single(model, images):
    features = model.backbone(images)
    with torch.autocast("cpu", torch.bfloat16):
        scores = model.probe(features)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, model.probe(features))


def test_cam_methods_explain_the_probe(model, images):
    """A channel that is 0 everywhere has a gradient, too."""
    cam = CamLocalizer.of(model, method="gradcam")
    scores, maps = cam(images)
    with torch.no_grad():
        torch.testing.assert_close(scores, model(images).scores, rtol=1e-3, atol=1e-4)
    assert maps.isfinite().all()
    features = torch.zeros(1, model.backbone.out_channels, 3, 3, requires_grad=True)
    model.probe(features)[0, 0].backward()
    assert features.grad.isfinite().all()


def test_it_is_kept_with_its_model(model, images, tmp_path):
    model.add_decoder()
    model.eval()
    save(model, tmp_path / "model.safetensors")
    with torch.no_grad():
        expected = model(images)
        for other in (load(tmp_path), unpack(pack(model))):
            assert other.recipe == model.recipe
            found = other(images)
            assert torch.equal(found.scores, expected.scores)
            assert torch.equal(found.maps, expected.maps)
    assert config.from_json(config.to_json(model.recipe), Recipe) == model.recipe


def test_older_checkpoints_have_none(model):
    known = json.loads(config.to_json(model.recipe))
    del known["probe"]
    recipe = config.from_json(json.dumps(known), Recipe)
    assert recipe.probe is None
    assert Localizer.from_recipe(recipe).probe is None


@pytest.mark.parametrize("model", [7, pytest.param(0, marks=pytest.mark.long)], indirect=True)
@pytest.mark.parametrize(("kind", "decoder"), [("onnx", True), ("torch", False)])
def test_export(kind, decoder, model, images, tmp_path):
    if kind == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    if decoder:
        model.add_decoder()
        model.eval()
    path = tmp_path / {"onnx": "model.onnx", "torch": "model.pt2"}[kind]
    assert export_model(model, path, kind, image_size=64) < 1e-3
    if kind == "onnx":
        exported = OnnxLocalizer(path)
        assert exported.probe == model.recipe.probe
        with torch.no_grad():
            scores, maps = model(images)
        found = exported(images)
        torch.testing.assert_close(found.scores, scores, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.maps, maps, rtol=1e-3, atol=1e-4)


def test_it_reads_what_is_named(images):
    probe = LinearProbe(4, 2, posteriors=3)
    features = torch.rand(5, 4, 6, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    inputs = probe.inputs(features)
    assert inputs.shape == (5, 14)
    torch.testing.assert_close(inputs[:, :8], pooled_features(features))
    torch.testing.assert_close(inputs[:, 8:11].square().sum(1), torch.ones(5))
    cells = torch.stack([probe.classifier(cell).softmax(1) for cell in features.flatten(2).unbind(2)])
    torch.testing.assert_close(inputs[:, 11:].square(), cells.amax(0))


def test_pooled_features_are_roots_of_means_and_maxima():
    maps = np.random.default_rng(0).normal(size=(3, 5, 4, 6))
    mean, highest = maps.mean((2, 3)), maps.max((2, 3))
    expected = np.hstack([np.sign(part) * np.sqrt(np.abs(part)) for part in (mean, highest)])
    np.testing.assert_allclose(pooled_features(torch.from_numpy(maps)), expected)
    pooled = pooled_features(torch.from_numpy(maps).half())
    assert pooled.dtype == torch.float32
    np.testing.assert_allclose(pooled, expected, atol=0.02)


def test_pooled_features_of_other_shapes_are_refused():
    for shape in ((2, 3), (2, 3, 0, 4)):
        with pytest.raises(UserError, match="expected"):
            pooled_features(torch.ones(shape))
