"""Local weight files as people have them: whatever the library itself takes, and one line for the rest."""

import logging
import re

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models as torchvision_models

from wsl.errors import UserError
from wsl.models import create_backbone, create_classifier
from wsl.models.checkpoint import open_model


def prefixed(prefix, state):
    return {prefix + key: tensor for key, tensor in state.items()}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torchvision_models.resnet18(num_classes=3)


def opened(state, path, name="resnet18"):
    torch.save(state, path)
    return create_classifier(name, str(path)).net


def assert_equal(found, net):
    state = net.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.state_dict().items())


@pytest.mark.parametrize("name", ["regnet_y_400mf", "mnasnet0_5", "squeezenet1_1", "vit_b_16", "googlenet"])
@pytest.mark.quick("name", ["mnasnet0_5", "squeezenet1_1"])
def test_what_torchvision_writes(name, tmp_path):
    options = {"init_weights": False} if name == "googlenet" else {}
    net = torchvision_models.get_model(name, weights=None, **options)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    assert_equal(create_classifier(name, str(tmp_path / "w.pth")).net, net)


def test_mnasnet_without_its_version(tmp_path):
    """Its safetensors file has lost the version, and is of the present one."""
    net = torchvision_models.mnasnet0_5()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    assert_equal(create_classifier("mnasnet0_5", str(tmp_path / "w.safetensors")).net, net)


def test_the_names_of_torchvision_s_own_densenet(tmp_path):
    net = torchvision_models.densenet121()
    old = {
        re.sub(r"(denselayer\d+)\.(norm|conv)(\d)", r"\1.\2.\3", key): tensor
        for key, tensor in net.state_dict().items()
        if "num_batches" not in key
    }
    assert_equal(opened(old, tmp_path / "w.pth", "densenet121"), net)


def test_files_from_before_batches_were_counted(net, tmp_path):
    state = {key: tensor for key, tensor in net.state_dict().items() if "num_batches_tracked" not in key}
    assert_equal(opened(state, tmp_path / "w.pth"), net)


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net.", "backbone.", "a.b."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.quick("prefix", ["module._orig_mod."])
def test_what_a_wrapper_puts_before_the_names(net, tmp_path, prefix):
    state = prefixed(prefix, net.state_dict())
    assert_equal(opened(state, tmp_path / "w.pth"), net)
    assert_equal(opened({"state_dict": state, "epoch": 1, "lr": 0.1}, tmp_path / "w.pth"), net)
    save_file(state, tmp_path / "w.safetensors")
    assert_equal(create_classifier("resnet18", str(tmp_path / "w.safetensors")).net, net)


def test_two_networks_in_a_file_are_one_line(net, tmp_path):
    state = prefixed("student.", net.state_dict()) | prefixed("teacher.", net.state_dict())
    with pytest.raises(
        UserError, match=r"^[^\n]* holds resnet18 2 times, as student\., teacher\.: expected one;[^\n]*$"
    ):
        opened(state, tmp_path / "w.pth")


def test_what_is_left_over_is_one_line(net, tmp_path):
    state = prefixed("model.", net.state_dict()) | {"head.weight": torch.zeros(5, 3)}
    with pytest.raises(UserError, match=r"^[^\n]* does not fit resnet18: head\.weight is not part of it[^\n]*$"):
        opened(state, tmp_path / "w.pth")
    state = prefixed("model.", net.state_dict())
    del state["model.layer4.1.conv2.weight"]
    with pytest.raises(UserError, match=r"^[^\n]* does not fit resnet18: layer4\.1\.conv2\.weight is missing[^\n]*$"):
        opened(state, tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("key", "prefix", "extra"),
    [("state_dict_ema", "", {}), ("model_ema", "module.", {"n_averaged": torch.tensor(7)})],  # timm's, torchvision's
)
@pytest.mark.quick("key", ["model_ema"])
def test_averaged_weights_are_preferred_and_it_is_said(net, tmp_path, caplog, key, prefix, extra):
    plain = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    averaged = prefixed(prefix, net.state_dict()) | extra
    with caplog.at_level(logging.INFO, "wsl"):
        found = opened({"state_dict": plain, "model": plain, key: averaged}, tmp_path / "w.pth")
    assert_equal(found, net)
    assert f"taking the averaged weights, {key}" in caplog.text


def test_a_timm_file_decides_the_number_of_classes(tmp_path):
    timm = pytest.importorskip("timm")
    for name in ("test_vit", "mobilenetv3_small_050"):
        net = timm.create_model(name, num_classes=10)
        assert_equal(opened(prefixed("module.", net.state_dict()), tmp_path / "w.pth", f"timm/{name}"), net)
    torch.save(timm.create_model("resnet18", num_classes=10).state_dict(), tmp_path / "w.pth")
    assert len(open_model("timm/resnet18", tmp_path / "w.pth").classes) == 10


def test_a_timm_backbone_leaves_the_classifier_in_the_file(tmp_path):
    timm = pytest.importorskip("timm")
    net = timm.create_model("resnet18", num_classes=10)
    torch.save({"state_dict": prefixed("model.", net.state_dict())}, tmp_path / "w.ckpt")
    backbone = create_backbone("timm/resnet18", str(tmp_path / "w.ckpt"))
    assert torch.equal(backbone.net.net.layer4[1].conv2.weight, net.layer4[1].conv2.weight)
