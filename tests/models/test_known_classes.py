"""Names of classes, where the libraries of networks know them."""

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from wsl.models import Localizer
from wsl.models.known_classes import known_classes


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_a_network_of_torchvision_has_imagenet_s_names(name):
    net = torchvision_models.get_model_builder(name)(weights=None)
    model = Localizer.from_classifier(net)
    assert model.classes[281] == "tabby"
    assert len(set(model.classes)) == 1000
    other = torchvision_models.get_model_builder(name)(weights=None, num_classes=5)
    assert Localizer.from_classifier(other).classes == ("class 0", "class 1", "class 2", "class 3", "class 4")


def test_given_names_come_first():
    net = torchvision_models.squeezenet1_1(weights=None)
    names = [f"name {i}" for i in range(1000)]
    assert Localizer.from_classifier(net, classes=names).classes == tuple(names)


@pytest.mark.parametrize(
    ("count", "index", "name"), [(1000, 281, "tabby"), (11821, 0, "benthos (n00005787)"), (7, 0, None)]
)
def test_a_network_of_timm_has_the_names_of_its_part_of_imagenet(count, index, name):
    timm = pytest.importorskip("timm")
    found = known_classes(timm.create_model("test_resnet", num_classes=count))
    if name is None:
        assert found == ()
    else:
        assert (len(found), len(set(found)), found[index]) == (count, count, name)


def test_a_network_of_timm_has_the_names_that_its_weights_come_with():
    timm = pytest.importorskip("timm")
    net = timm.create_model("test_resnet", num_classes=3)
    net.pretrained_cfg = {**net.pretrained_cfg, "label_names": ["cat", "dog", "dog"]}
    assert known_classes(net) == ("cat", "dog (1)", "dog (2)")


@pytest.mark.long
def test_a_network_of_somebody_else_has_none():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 1000, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.conv(images).mean((2, 3))

    assert known_classes(Own()) == ()
    assert Localizer.from_classifier(Own()).classes[713] == "class 713"
