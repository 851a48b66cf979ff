"""A localizer whose head encodes features: the same contract as any other, with gradient maps."""

import copy

import cv2
import numpy as np
import pytest
import torch

import wsl
from wsl.cam import gradient_maps
from wsl.config import ModelConfig, Preprocessing
from wsl.errors import UserError
from wsl.inference import Predictor
from wsl.models import GradientHead, Localizer, create, load, save

ENCODERS = ("spp(levels=(2, 1))", "netvlad(clusters=3, ghosts=1)", "bilinear(l2=False)", "compactbilinear(dim=64)")
CLASSES = ("cat", "dog", "cow")


def localizer(pooling, **options):
    torch.manual_seed(0)
    return Localizer("tinynet", pooling=pooling, classes=CLASSES, weights="none", **options).eval()


def random_images(count=2, side=64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooling", ENCODERS)
def test_it_gives_scores_and_maps(pooling):
    model, images = localizer(pooling), random_images()
    scores, maps = model(images)
    assert scores.shape == (2, 3)
    assert maps.shape == (2, 3, 8, 8)
    features = model.backbone(images)
    torch.testing.assert_close(scores, model.head.classifier(features))
    torch.testing.assert_close(maps, gradient_maps(model.head.classifier, features).maps)
    with torch.inference_mode():
        torch.testing.assert_close(tuple(model(images)), (scores, maps))
    assert model.recipe.pooling == pooling


def test_training_makes_no_maps_and_evaluation_still_lets_gradients_through():
    model, images = localizer("netvlad(clusters=3)"), random_images()
    scores, maps = model.train()(images)
    assert maps.shape == (2, 3, 0, 0)
    scores.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()
    model.eval()(images).scores.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("pooling", ["gap", "weldon(k_max=0.2, k_min=0.2)", *ENCODERS])
@pytest.mark.parametrize("maps_per_class", [1, 2])
def test_lazy_maps_are_those_of_the_whole(pooling, maps_per_class):
    if maps_per_class > 1 and pooling in ENCODERS:
        pytest.skip("an encoder has no class maps")
    model, images = localizer(pooling, maps_per_class=maps_per_class), random_images(3)
    torch.nn.init.normal_(next(p for n, p in model.head.named_parameters() if n.endswith("bias")))
    ready = model.for_inference(torch.device("cpu"), torch.float32)
    with torch.no_grad():
        scores, maps = model(images)
    output = ready(images)
    torch.testing.assert_close(output.scores, scores, rtol=1e-4, atol=1e-5)
    for chosen in ([[2, 0], [1, 1], [0, 2]], [[], [], []], [[0], [0], [0]]):
        got = output.maps_of(torch.tensor(chosen, dtype=torch.int64))
        expected = torch.stack([one[classes] for one, classes in zip(maps, chosen, strict=True)])
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ENCODERS)
def test_a_saved_model_is_the_same_when_loaded(tmp_path, pooling):
    model = localizer(pooling)
    if model.head.classifier.encoder.needs_fit():
        model.head.classifier.encoder.initialise(model.backbone(random_images(4)))
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path)
    assert isinstance(again.head, GradientHead)
    assert not again.head.classifier.encoder.needs_fit()
    for got, expected in zip(again(random_images()), model(random_images()), strict=True):
        assert torch.equal(got, expected)
    assert again.recipe == model.recipe


def test_training_can_go_on_from_the_same_encoder(tmp_path):
    before = localizer("netvlad(clusters=3)")
    save(before, tmp_path / "model.safetensors")

    def start(pooling, classes=CLASSES):
        return create(ModelConfig(backbone="tinynet", weights=str(tmp_path), pooling=pooling), classes, Preprocessing())

    same = start("netvlad( clusters=3 )")
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), before.parameters(), strict=True))
    for other in (start("netvlad(clusters=4)"), start("gap"), start("netvlad(clusters=3)", ("cat", "dog", "hen"))):
        assert torch.equal(next(other.backbone.parameters()), next(before.backbone.parameters()))
        assert not torch.equal(next(other.head.parameters()), next(before.head.parameters()))


def test_the_predictor_asks_for_the_maps_it_needs(tmp_path, monkeypatch):
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (64, 64, 3))
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels.astype(np.uint8))
    model = localizer("bilinear", preprocessing=Preprocessing(image_size=64))
    passes, backward = [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **kw: passes.append(1) or backward(*args, **kw))
    found = list(Predictor(model, top_k=2, device="cpu", precision="fp32").stream(tmp_path.iterdir(), workers=0))
    assert len(passes) == 2  # one for both images' first class, one for their second
    for one in found:
        assert len(one.maps) == 2
        image = torch.from_numpy(cv2.imread(str(one.path))[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(x)[:, None, None] for x in (model.preprocessing.mean, model.preprocessing.std))
        maps = model((image - mean) / std).maps[0]
        for label, score_map in one.maps.items():
            np.testing.assert_allclose(score_map, maps[CLASSES.index(label)].numpy(), rtol=1e-2, atol=1e-5)


def test_copies_keep_their_head():
    model, images = localizer("netvlad(clusters=3)"), random_images()
    assert torch.equal(copy.deepcopy(model)(images).maps, model(images).maps)
    assert next(iter(wsl.models.fuse.fuse_batch_norm(model)(images).maps.shape)) == 2


@pytest.mark.parametrize(
    ("pooling", "options", "message"),
    [
        ("netvladd", {}, r"unknown pooling or encoder 'netvladd': did you mean 'netvlad'\?"),
        ("netvlad(clusters=0)", {}, r"encoder 'netvlad\(clusters=0\)': clusters is 0, expected 1 or more"),
        ("spp", {"maps_per_class": 4}, "maps per class is 4, but spp has no class maps: leave it at 1"),
        ("bilinear(other_channels=8)", {}, "takes two sources, and a backbone gives one: leave other_channels out"),
    ],
)
def test_impossible_heads_are_refused(pooling, options, message):
    with pytest.raises(UserError, match=message):
        localizer(pooling, **options)
