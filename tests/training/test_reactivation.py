"""ReCAM's maps: the product of both classifiers' weights, in the trained model, and kept with it."""

import json

import pytest
import torch
from torch import nn

from heads import MapClassifier
from wsl import cli
from wsl.errors import UserError
from wsl.models import Localizer, OnnxLocalizer, export_model, load, save


@pytest.mark.parametrize("maps_per_class", [1, 3])
def test_maps_are_those_of_the_product_location_by_location(maps_per_class):
    torch.manual_seed(0)
    head = MapClassifier(5, 2, pooling="lse(beta=2)", maps_per_class=maps_per_class).eval()
    features = torch.randn(2, 5, 3, 4)
    scores, own = head(features)
    weight = head.add_reactivation()
    assert (head(features).maps == 0).all()
    nn.init.normal_(weight)
    found = head(features)
    assert torch.equal(found.scores, scores)
    for k in range(2):
        first = head.conv.weight[k * maps_per_class : (k + 1) * maps_per_class, :, 0, 0].mean(0)
        expected = sum(first[c] * weight[k, c] * features[:, c] for c in range(5))
        torch.testing.assert_close(found.maps[:, k], expected)
    torch.testing.assert_close(head.train()(features).maps, own)


@pytest.mark.parametrize("pooling", ["gap", "kmax(k=3)"])
def test_a_saved_model_and_its_ready_copy_show_the_same(tmp_path, pooling):
    torch.manual_seed(0)
    model = Localizer("tinynet", 3, pooling=pooling, weights="none").eval()
    plain, images = model(torch.ones(2, 3, 40, 40)).maps, torch.randn(2, 3, 40, 40)
    nn.init.normal_(model.add_reactivation())
    assert not torch.allclose(model(torch.ones(2, 3, 40, 40)).maps, plain)
    save(model, tmp_path / "model.safetensors")
    for got, expected in zip(load(tmp_path)(images), model(images), strict=True):
        assert torch.equal(got, expected)
    ready = model.for_inference(torch.device("cpu"), torch.float32)(images)
    asked = torch.tensor([[2, 0], [1, 1]])
    torch.testing.assert_close(ready.maps_of(asked), model(images).maps[torch.arange(2)[:, None], asked])
    torch.testing.assert_close(ready.scores, model(images).scores)


@pytest.mark.long
def test_it_is_exported(tmp_path):
    pytest.importorskip("onnxscript")
    model = Localizer("tinynet", 3, weights="none").eval()
    nn.init.normal_(model.add_reactivation())
    assert export_model(model, tmp_path / "a.onnx", "onnx", image_size=40) < 1e-4
    images = torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(OnnxLocalizer(tmp_path / "a.onnx")(images), tuple(model(images)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"neck": "sppblock"}, {"pooling": "csra(heads=2)"}, {"head": "acol(hidden=4)"}])
def test_heads_of_more_than_a_convolution_are_refused(options):
    with pytest.raises(UserError, match="1x1 convolution"):
        Localizer("tinynet", 2, weights="none", **options).add_reactivation()


@pytest.fixture
def command(train_flags):
    return lambda out, *more: train_flags(out, "--val-split", "None", "--epochs", "2", "--loss", "bce + recam", *more)


@pytest.mark.parametrize("more", [(), ("--freeze-backbone",), ("--ema", "0.5")], ids=str)
@pytest.mark.quick("more", [("--ema", "0.5")])
def test_a_training_teaches_the_second_classifier_and_resumes_to_equal_bytes(command, tmp_path, more, interrupted):
    assert cli.train(command(tmp_path / "whole", *more)) == 0
    with interrupted(2):
        assert cli.train(command(tmp_path / "run", *more)) == 130
    assert cli.train(command(tmp_path / "run", *more, "--resume")) == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert models[0] == models[1]
    model = load(tmp_path / "run")
    assert model.recipe.reactivated
    assert model.head.reactivation.any()
    state = torch.load(tmp_path / "run" / "last" / "state.pt", weights_only=True)
    assert torch.equal(state["objective"]["terms.1.classifier.weight"], state["model"]["head.reactivation"])
    if "--ema" not in more:
        assert torch.equal(model.head.reactivation, state["model"]["head.reactivation"])


def test_with_a_neck_the_maps_stay_the_first_one_s(command, tmp_path, caplog):
    caplog.set_level("INFO")
    assert cli.train(command(tmp_path / "run", "--neck", "sppblock", "--epochs", "1")) == 0
    assert not load(tmp_path / "run").recipe.reactivated
    assert "recam: the maps are those of the first classifier alone" in caplog.text
    assert json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))["optim"]["loss"] == "bce + recam"
