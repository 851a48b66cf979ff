"""Files of tensors alone, and the classifiers that they are recognised as."""

import numpy as np
import pytest
import torch
from torchvision import models as torchvision_models

from wsl import cli
from wsl.checkpoints import check_weights, holds_tensors_alone
from wsl.draw import save_image
from wsl.errors import UserError
from wsl.models import Localizer, create_backbone, load, open_model, save
from wsl.models.architecture import find_architecture


def saved(name, path, **options):
    net = torchvision_models.get_model_builder(name)(weights=None, **options)
    torch.save({f"module.{key}": tensor for key, tensor in net.state_dict().items()}, path)  # of data-parallel training
    return net.eval()


@pytest.fixture
def few(monkeypatch):
    """torchvision with few classifiers: to describe all of them takes seconds."""
    names = ["googlenet", "regnet_y_400mf", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0"]
    monkeypatch.setattr(torchvision_models, "list_models", lambda **_: names)


@pytest.mark.parametrize("file", ["mine.pth", "shufflenet_v2_x0_5-f707e7126e.pth"])
@pytest.mark.parametrize("count", [1000, 7])
def test_a_classifier_is_known_by_its_tensors(few, file, count, tmp_path):
    saved("shufflenet_v2_x0_5", tmp_path / file, num_classes=count)
    assert find_architecture(tmp_path / file) == "shufflenet_v2_x0_5"


def test_a_name_that_misleads_is_not_believed(few, tmp_path):
    saved("shufflenet_v2_x0_5", tmp_path / "shufflenet_v2_x1_0.pth")
    assert find_architecture(tmp_path / "shufflenet_v2_x1_0.pth") == "shufflenet_v2_x0_5"


def test_auxiliary_classifiers_may_be_missing(few, tmp_path):
    state = torchvision_models.googlenet(weights=None, init_weights=False).state_dict()
    torch.save({key: tensor for key, tensor in state.items() if not key.startswith("aux")}, tmp_path / "a.pth")
    assert find_architecture(tmp_path / "a.pth") == "googlenet"


def test_a_network_of_timm_is_known_by_the_name_of_its_file(tmp_path):
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_resnet", num_classes=3)
    torch.save(net.state_dict(), tmp_path / "test_resnet-epoch9.pth")
    assert find_architecture(tmp_path / "test_resnet-epoch9.pth") == "timm/test_resnet"


def test_a_file_of_tensors_is_a_classifier_and_not_a_run(few, tmp_path):
    saved("shufflenet_v2_x0_5", tmp_path / "mine.pth", num_classes=3)
    assert Localizer.from_classifier(tmp_path / "mine.pth").recipe.backbone == "shufflenet_v2_x0_5"
    with pytest.raises(UserError, match=r"a classifier and not a run: wsl\.Localizer\.from_classifier\(.*mine\.pth"):
        load(tmp_path / "mine.pth")


def test_weights_of_another_classifier_say_how_to_name_it(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "mine.pth")
    with pytest.raises(UserError, match=r"mine\.pth does not fit resnet18: .*; wsl-info .*mine\.pth says what it fits"):
        create_backbone("resnet18", str(tmp_path / "mine.pth"))


@pytest.mark.parametrize("given", [None, 3])
def test_what_is_no_model_is_named(given):
    with pytest.raises(UserError, match=f"a {type(given).__name__}, expected"):
        load(given)
    with pytest.raises(UserError, match=f"a {type(given).__name__}, expected"):
        Localizer.from_classifier(given)


def test_a_file_of_tensors_localizes(few, tmp_path, capsys, caplog):
    file, photo = tmp_path / "mine.pth", tmp_path / "a.png"
    net = saved("shufflenet_v2_x0_5", file, num_classes=3)
    save_image(photo, np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8))
    assert cli.localize([str(photo), "--weights", str(file), "--out", str(tmp_path / "found")]) == 0
    assert f"as --weights shufflenet_v2_x0_5 --local-weights {file}" in caplog.text
    model = open_model(str(file))
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(images).scores, net(images), atol=1e-4, rtol=1e-4)


def test_tensors_that_nobody_knows_are_told_what_to_add(few, tmp_path):
    file = tmp_path / "odd.pth"
    torch.save(torch.nn.Linear(3, 4).state_dict(), file)
    with pytest.raises(UserError, match=r"not recognised: give its name, --weights NAME --local-weights .*odd\.pth"):
        open_model(str(file))


def test_runs_are_told_from_tensors_alone(tmp_path):
    save(Localizer("tinynet", 2, weights="none"), tmp_path / "model.safetensors")
    assert not holds_tensors_alone(tmp_path / "model.safetensors")
    assert check_weights(str(tmp_path / "model.safetensors")) is not None
    torch.save(torch.nn.Linear(3, 4).state_dict(), tmp_path / "odd.pth")
    assert check_weights(str(tmp_path / "odd.pth")) is None
