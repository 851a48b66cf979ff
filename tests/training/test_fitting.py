"""Heads and probes fitted at once: the minimum of their objective on the features of the training images."""

import logging

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchvision import models as torchvision_models

from heads import MapClassifier
from wsl.config import DataConfig, ModelConfig, OptimConfig, Preprocessing, ProbeConfig, RuntimeConfig, TrainConfig
from wsl.data import stacked_targets
from wsl.errors import UserError
from wsl.images import fit, read_image
from wsl.images.tensors import Normalise
from wsl.models import Localizer, create, save
from wsl.training.fitting import check_head, fit_head, fit_probe, own_classifier
from wsl.training.order import Order
from wsl.training.sources import FeatureSource

SMALL = Preprocessing(image_size=32)
CPU = torch.device("cpu")


def ignore(images, note=None):
    """Progress that nobody watches."""


def source(model, samples, tmp_path, flip=True) -> FeatureSource:
    config = TrainConfig(
        data=DataConfig(data=tmp_path),
        out=tmp_path / "runs" / "a",
        optim=OptimConfig(freeze_backbone=True, flip=flip),
        runtime=RuntimeConfig(workers=0, precision="fp32"),
    )
    return FeatureSource(model, samples, None, config, CPU, Order(len(samples), config.optim.batch_size, 0))


@pytest.fixture
def model(samples) -> Localizer:
    torch.manual_seed(0)
    return Localizer("tinynet", classes=samples.classes, weights="none", preprocessing=SMALL).eval()


@torch.no_grad()
def features_of(model, samples, flip) -> torch.Tensor:
    """The backbone's maps, as they are kept in half precision, mirrored ones behind the others."""
    normalise = Normalise(model.preprocessing, CPU)
    pixels = normalise(np.stack([fit(read_image(one.path), model.preprocessing)[0] for one in samples.samples]))
    views = [pixels, pixels.flip(3)] if flip else [pixels]
    return torch.cat([model.backbone(view) for view in views]).half().float()


@pytest.mark.parametrize("flip", [False, True])
def test_a_head_is_logistic_regression_of_mean_features(model, samples, tmp_path, flip):
    """Images of which nothing is known for a class (difficult only) take no part in it."""
    labels, known = (np.tile(part, (1 + flip, 1)) for part in stacked_targets(samples))
    penalty = 0.5  # of which 40 steps find the minimum
    done = []
    _, images = fit_head(
        model.head, samples.classes, source(model, samples, tmp_path, flip), penalty, lambda n: done.append(n)
    )
    assert images == sum(done) == len(known)
    maps = features_of(model, samples, flip)
    means = maps.mean((2, 3))
    with torch.no_grad():
        scores, shown = model.head(maps)
    weight, bias = model.head.conv.weight.flatten(1), model.head.conv.bias
    torch.testing.assert_close(scores, means @ weight.T + bias, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores, shown.mean((2, 3)), rtol=1e-4, atol=1e-4)
    standard = StandardScaler().fit_transform(means.double().numpy())
    for k in range(3):
        rows = known[:, k] > 0
        assert (~rows).any() == (k == 0)
        expected = LogisticRegression(C=1 / (penalty * rows.sum()), tol=1e-10, max_iter=10_000)
        expected.fit(standard[rows], labels[rows, k])
        np.testing.assert_allclose(scores[:, k].detach(), expected.decision_function(standard), atol=2e-3)


def test_the_loss_is_the_mean_of_known_pairs(model, samples, tmp_path):
    loss, _ = fit_head(model.head, samples.classes, source(model, samples, tmp_path), 0.02, ignore)
    labels, known = (torch.from_numpy(np.tile(part, (2, 1))) for part in stacked_targets(samples))
    with torch.no_grad():
        scores = model.head(features_of(model, samples, True)).scores
    signs = torch.where(labels == 1, -scores, scores)[known > 0]
    assert loss == pytest.approx(nn.functional.softplus(signs).mean().item(), rel=1e-3)


@pytest.mark.parametrize("posteriors", [0, 4])
def test_a_probe_is_logistic_regression_of_what_it_reads(model, samples, tmp_path, posteriors):
    classifier = nn.Linear(model.backbone.out_channels, posteriors) if posteriors else None
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = ProbeConfig(probe=True, probe_penalty=0.5)
    fit_probe(model, source(model, samples, tmp_path), settings, classifier, ignore)
    assert model.recipe.probe == posteriors
    assert all(model.state_dict()[name].equal(tensor) for name, tensor in before.items())
    if classifier is not None:
        assert torch.equal(model.probe.classifier.weight, classifier.weight)
    maps = features_of(model, samples, True)
    with torch.no_grad():
        scores, inputs = model.probe(maps).numpy(), model.probe.inputs(maps).double().numpy()
    labels, _ = (np.tile(part, (2, 1)) for part in stacked_targets(samples))
    standard = StandardScaler().fit_transform(inputs)
    for k in (1, 2):
        expected = LogisticRegression(C=1 / (0.5 * len(labels)), tol=1e-10, max_iter=10_000).fit(standard, labels[:, k])
        np.testing.assert_allclose(scores[:, k], expected.decision_function(standard), atol=2e-3)


def test_classes_that_nothing_tells_apart_are_named(samples, tmp_path, caplog):
    classes = (*samples.classes, "horse", "sheep")
    model = Localizer("tinynet", classes=classes, weights="none", preprocessing=SMALL).eval()
    more = type(samples)(classes=classes, samples=samples.samples)
    fit_head(model.head, classes, source(model, more, tmp_path), 0.02, ignore)
    (said,) = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert said.startswith("lbfgs: the known labels of horse, sheep")
    assert "horse, sheep" in said
    assert (model.head.conv.weight[3:] == 0).all()


@pytest.mark.parametrize(
    "head",
    [
        MapClassifier(8, 2, pooling="gmp"),
        MapClassifier(8, 2, neck="sppblock"),
        MapClassifier(8, 2, maps_per_class=2),
        nn.Linear(8, 2),
    ],
)
def test_other_heads_are_refused(head):
    with pytest.raises(UserError, match="linear in the mean features"):
        check_head(head)


# --- the classifier whose posteriors are read -------------------------------------------------------------------


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torchvision_models.resnet18(num_classes=7).eval()


@pytest.fixture
def weights(net, tmp_path) -> str:
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    return str(tmp_path / "resnet18.pth")


def found(classes=("a", "b"), **settings) -> nn.Linear | None:
    chosen = ModelConfig(**settings)
    return own_classifier(create(chosen, classes, Preprocessing(image_size=64)), chosen)


def test_it_is_the_last_layer_of_the_backbone_s_own_classifier(net, weights, caplog):
    with caplog.at_level(logging.INFO, "wsl"):
        layer = found(backbone="resnet18", weights=weights)
    assert torch.equal(layer.weight, net.fc.weight)
    assert torch.equal(layer.bias, net.fc.bias)
    assert "7 posteriors" in caplog.text


def test_also_of_a_dilated_one(net, weights):
    assert torch.equal(found(backbone="resnet18", weights=weights, output_stride=16).weight, net.fc.weight)


def test_also_of_one_that_pads_otherwise(net, weights):
    assert torch.equal(found(backbone="resnet18", weights=weights, padding="tensorflow").weight, net.fc.weight)


def test_weights_of_a_run_have_the_classifier_of_its_probe(net, weights, tmp_path):
    chosen = ModelConfig(backbone="resnet18", weights=weights)
    before = create(chosen, ["a", "b"], Preprocessing(image_size=64))
    before.add_probe(7).classifier.load_state_dict(net.fc.state_dict())
    save(before, tmp_path / "run" / "model.safetensors")
    layer = found(("c", "d", "e"), backbone="resnet18", weights=str(tmp_path / "run"))
    assert torch.equal(layer.weight, net.fc.weight)


@pytest.mark.long
def test_and_of_timm_s(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=5).eval()
    torch.save(net.state_dict(), tmp_path / "w.pth")
    layer = found(backbone="timm/resnet18", weights=str(tmp_path / "w.pth"))
    torch.testing.assert_close(layer.weight, net.fc.weight, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_also_of_a_model_on_a_device_that_rounds_its_convolutions(reference, monkeypatch, tmp_path):
    torch.manual_seed(0)
    net = torchvision_models.mobilenet_v2(num_classes=7).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    net(torch.randn(8, 3, 64, 64))  # statistics, without which a deep network gives hardly anything
    torch.save(net.state_dict(), tmp_path / "mobilenet.pth")
    chosen = ModelConfig(backbone="mobilenet_v2", weights=str(tmp_path / "mobilenet.pth"))
    model = create(chosen, ["a", "b"], Preprocessing(image_size=64))
    with reference.other_device.simulated(monkeypatch, tf32=True):
        layer = own_classifier(model.to(reference.other_device.DEVICE), chosen)
    assert torch.equal(layer.weight, net.classifier[1].weight)


def test_where_there_is_none_the_log_says_why(weights, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wsl")
    save(Localizer("tinynet", 2, weights="none"), tmp_path / "run" / "model.safetensors")
    mobilenet = torchvision_models.mobilenet_v3_small(num_classes=3)
    torch.save(mobilenet.state_dict(), tmp_path / "mobilenet.pth")
    for settings, said in (
        ({"backbone": "tinynet", "weights": "none"}, "no pretrained weights"),
        ({"backbone": "tinynet", "weights": "DEFAULT"}, "no pretrained weights"),
        ({"backbone": "tinynet", "weights": str(tmp_path / "run")}, "which has no probe with posteriors"),
        ({"backbone": "tinynet", "weights": str(tmp_path / "run" / "model.safetensors")}, "has no probe with"),
        ({"backbone": "mobilenet_v3_small", "weights": str(tmp_path / "mobilenet.pth")}, "global average pooling"),
        (
            {"backbone": "resnet18", "weights": weights, "downsampling": "softpool2d"},
            "resnet18 differ",
        ),
    ):
        caplog.clear()
        assert found(**settings) is None
        assert said in caplog.text
