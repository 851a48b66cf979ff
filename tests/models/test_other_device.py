"""A network that is on another device than the CPU becomes a model there, and its maps are those of the CPU."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, resnet18, vgg11

import wsl
from wsl.cam import METHODS
from wsl.config import Preprocessing
from wsl.models import Localizer

SIDE = 64
OF_TOKENS = {"legrad", "rollout", "gradient-rollout"}
NETS = {
    "resnet18": resnet18,  # cut where it pools
    "mobilenet_v2": mobilenet_v2,
    "vgg11": vgg11,  # no class maps of its own
    "normed": lambda num_classes: Normed(num_classes),  # read as a whole
}


class Normed(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)
        self.norm, self.last = nn.LayerNorm(8), nn.Linear(8, num_classes)

    def forward(self, x):
        return self.last(self.norm(self.conv2(self.conv1(x).relu()).relu().mean((2, 3))))


@pytest.fixture
def device(reference, monkeypatch):
    """A device that mixes with no other, as CUDA does; here it is the CPU under another name."""
    with reference.other_device.simulated(monkeypatch):
        yield reference.other_device.DEVICE


def test_the_simulated_device_refuses_others(device):
    there = torch.arange(3.0).to(device)
    assert (there * 2).sum().item() == 6
    assert (there + 1).device == device
    assert (there + 1).cpu().tolist() == [1, 2, 3]
    with pytest.raises(RuntimeError, match="two devices"):
        there + torch.ones(3)


def both(device, net, images, method):
    """The maps on the CPU, and those of a model made on the device."""
    settings = {"method": method, "preprocessing": Preprocessing(image_size=images.shape[-1])}
    expected = wsl.cam(Localizer.from_classifier(copy.deepcopy(net), **settings), images, [0, 3])
    model = Localizer.from_classifier(net.to(device), **settings)
    assert {tensor.device for tensor in (*model.parameters(), *model.buffers())} == {device}
    found = wsl.cam(model, images.to(device), [0, 3])
    assert found.device == device
    return found.cpu(), expected


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", ["auto", "layercam"])
@pytest.mark.quick("name, method", [("resnet18", "auto"), ("normed", "layercam")])
def test_any_network(device, name, method):
    torch.manual_seed(0)
    found, expected = both(device, NETS[name](num_classes=5).eval(), torch.randn(2, 3, SIDE, SIDE), method)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", sorted(set(METHODS) - OF_TOKENS))
@pytest.mark.quick("method", ["eigencam", "gradcam", "layercam", "scorecam"])
def test_any_method(device, method):
    torch.manual_seed(0)
    found, expected = both(device, Normed(num_classes=5).eval(), torch.randn(2, 3, SIDE, SIDE), method)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("method", sorted(OF_TOKENS))
@pytest.mark.quick("method", ["legrad"])
def test_any_method_of_a_transformer(device, method):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=5, img_size=SIDE).eval()
    found, expected = both(device, net, torch.randn(2, 3, SIDE, SIDE), method)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_backbone_of_ones_own(device):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8), nn.ReLU()).to(device)
    model = Localizer(net, 2, weights="none")
    assert model(torch.zeros(1, 3, SIDE, SIDE, device=device)).scores.device == device
