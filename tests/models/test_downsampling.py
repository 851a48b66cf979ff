"""Other poolings inside a backbone, from the command line to the checkpoint."""

import pytest
import torch
from torch import nn

from heads.downsampling import AdaPool2d, Downsampling, SoftPool2d
from wsl import cli
from wsl.config import ModelConfig, Preprocessing
from wsl.errors import UserError
from wsl.models import Localizer, create, load, save


def inside(model):
    return [type(layer) for layer in model.backbone.modules() if isinstance(layer, Downsampling)]


def test_a_backbone_looks_where_it_did():
    """Windows stay, so strides and the grid of the map do too."""
    for name, stride in (("resnet18", 8), ("squeezenet1_1", None)):
        plain = Localizer(name, 2, weights="none", output_stride=stride)
        other = Localizer(name, 2, weights="none", output_stride=stride, downsampling="softpool2d")
        assert set(inside(other)) == {SoftPool2d}
        assert other.backbone.stride == plain.backbone.stride
        assert other.backbone.grids((64, 64)) == plain.backbone.grids((64, 64))


def test_checkpoints_build_the_same_network(tmp_path):
    model = Localizer("resnet18", 2, weights="none", downsampling="adapool2d(beta=0.25)").eval()
    with torch.no_grad():
        next(layer for layer in model.modules() if isinstance(layer, AdaPool2d)).logit_beta.fill_(2.0)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path)
    images = torch.randn(1, 3, 64, 64)
    assert again.recipe == model.recipe
    assert torch.equal(again(images).scores, model(images).scores)


@pytest.mark.parametrize(("before", "after"), [(None, "adapool2d"), ("adapool2d", None), ("adapool2d", "softpool2d")])
@pytest.mark.quick("before, after", [("adapool2d", "softpool2d")])
def test_training_goes_on_from_a_run_with_other_poolings(tmp_path, before, after):
    old = Localizer("resnet18", classes=["cat", "dog"], weights="none", downsampling=before)
    save(old, tmp_path / "model.safetensors")
    settings = ModelConfig(backbone="resnet18", weights=str(tmp_path), downsampling=after)
    new = create(settings, ["cat", "dog"], Preprocessing())
    weights = dict(old.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in new.named_parameters() if name in weights)
    assert len([name for name in weights if "conv" in name]) > 10


def test_the_callers_module_stays_as_it_is():
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.MaxPool2d(2))
    model = Localizer(body, 2, downsampling="softpool2d")
    assert inside(model) == [SoftPool2d]
    assert isinstance(body[1], nn.MaxPool2d)


def test_a_classifier_with_our_poolings_becomes_a_localizer():
    """Traced as a layer, not into its arithmetic."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), SoftPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).eval()
    model = Localizer.from_classifier(net)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(model(images).scores, net(images))
    assert model.backbone.stride == 2


@pytest.mark.parametrize(
    ("backbone", "downsampling", "message"),
    [
        ("tinynet", "softpool2d", "tinynet has no pooling layer of that kind, expected a backbone with some"),
        ("resnet18", "softpol2d", "unknown downsampling 'softpol2d': did you mean 'softpool2d'"),
        ("resnet18", "softpool1d", "resnet18 has no pooling layer of that kind"),
        ("resnet18", "softpool2d(kernel_size=0)", "kernel_size is 0, expected an integer of 1 or more"),
        ("densenet121", "stochasticpool2d", r"maps go down to -.*, or use probability='softmax'"),
    ],
)
@pytest.mark.quick("backbone", ["tinynet", "resnet18"])
def test_what_cannot_be_is_told_in_a_line(backbone, downsampling, message):
    with pytest.raises(UserError, match=message):
        Localizer(backbone, 2, weights="none", downsampling=downsampling)


def test_the_command_line_trains_with_it(tmp_path, capsys, caplog):
    for split in ("train", "val"):
        for label in ("dark", "light"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for index in range(2):
                write_picture(tmp_path / "photos" / split / label / f"{index}.png", 40 if label == "dark" else 200)
    run = tmp_path / "run"
    flags = ["--backbone", "squeezenet1_1", "--weights", "none", "--downsampling", "mixedpool2d(mode=random)"]
    flags += ["--image-size", "64", "--epochs", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu"]
    assert cli.train(["--data", str(tmp_path / "photos"), "--out", str(run), *flags]) == 0
    assert "pooling inside the backbone: features.2: mixedpool2d(kernel_size=3" in caplog.text
    assert load(run).recipe.downsampling == "mixedpool2d(mode=random)"
    assert len(inside(load(run))) == 3
    flags[5] = "mixedpool2d(lam=2)"
    assert cli.train(["--data", str(tmp_path / "photos"), "--out", str(tmp_path / "other"), *flags]) == 2
    assert "lam is 2.0, expected the weight of the maximum" in capsys.readouterr().err


def write_picture(path, level):
    from PIL import Image

    Image.new("RGB", (64, 64), (level, level, level)).save(path)
