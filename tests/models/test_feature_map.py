"""Modules of others as backbones: a map, however it is given, or one line."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from wsl.errors import UserError
from wsl.models import Backbone, Localizer


class Net(nn.Module):
    """Two convolutions whose maps a function hands out as it likes."""

    def __init__(self, give, channels=3):
        super().__init__()
        self.first, self.second, self.give = nn.Conv2d(channels, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1), give

    def forward(self, x):
        fine = self.first(x)
        return self.give(fine, self.second(fine))


@dataclass
class Output:
    fine: torch.Tensor
    coarse: torch.Tensor
    loss: None = None


class Bag:
    def __init__(self, tensor):
        self.last_hidden_state = tensor


def tokens(features, prefix=0):
    rows = features.flatten(2).transpose(1, 2)
    return torch.cat([rows.new_zeros(len(rows), prefix, rows.shape[2]), rows], 1)


GIVE = {
    "a tensor": lambda fine, coarse: coarse,
    "a tuple": lambda fine, coarse: (coarse, coarse.mean((2, 3))),
    "a list of scales": lambda fine, coarse: [fine, coarse],
    "a dictionary": lambda fine, coarse: {"out": coarse, "note": "text"},
    "a dataclass": lambda fine, coarse: Output(fine, coarse),
    "an object": lambda fine, coarse: Bag(tokens(coarse, 1)),
    "channels last": lambda fine, coarse: coarse.permute(0, 2, 3, 1),
    "tokens": lambda fine, coarse: tokens(coarse),
    "tokens behind registers": lambda fine, coarse: (tokens(coarse, 5),),
}


@pytest.mark.parametrize("how", GIVE)
def test_the_coarsest_map_is_taken_as_it_is_given(how):
    torch.manual_seed(0)
    net = Net(GIVE[how])
    model = Localizer(net, 2, weights="none").eval()
    images = torch.randn(2, 3, 64, 96)
    expected = net.second(net.first(images))
    assert torch.equal(model.backbone(images), expected)
    assert (model.backbone.out_channels, model.backbone.stride) == (8, 4)
    assert model.grid((64, 96)) == (4, 0.5)
    model.backbone(images).sum().backward()
    assert model.for_inference(torch.device("cpu"), torch.float32)(images).grid == (4, 0.5)


REFUSED = {
    "two alike": (
        Net(lambda fine, coarse: (coarse, coarse)),
        r"a tuple of tensors of shapes .*several maps of one size",
    ),
    "no map": (Net(lambda fine, coarse: coarse.mean((2, 3))), r"a tensor of shape \(1, 8\): expected .* feature map"),
    "no tensor": (Net(lambda fine, coarse: "maps"), r"a str without tensors: expected .* feature map"),
    "none": (Net(lambda fine, coarse: None), r"a NoneType without tensors"),
    "one channel": (Net(lambda fine, coarse: coarse, 1), r"does not take an image of 3 channels and 224 x 224 pixels"),
    "another size": (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), r"does not take an image of 3 channels"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_module_without_a_map_is_one_line(what):
    net, message = REFUSED[what]
    with pytest.raises(UserError, match=message) as caught:
        Localizer(net, 2, weights="none")
    assert "\n" not in str(caught.value)


def test_the_layout_is_the_network_s_and_not_guessed():
    """Channels last with as many channels as rows and columns can only be told by where the numbers come from."""
    net = nn.Sequential(nn.Conv2d(3, 56, 4, 4))
    last = Net(lambda fine, coarse: coarse.permute(0, 2, 3, 1))
    last.second = nn.Conv2d(6, 56, 2, 2)
    assert Backbone(net, "")._reading.kind == "nchw"
    assert Backbone(last, "")._reading.kind == "nhwc"


def test_modes_of_the_caller_s_module_stay_as_they_were():
    net = Net(GIVE["a tensor"]).train()
    net.first.eval()
    Backbone(net, "").grids((64, 64))
    assert (net.training, net.first.training, net.second.training) == (True, False, True)
    assert not net.first._forward_hooks
    assert not net.second._forward_pre_hooks


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_in_another_arithmetic(dtype):
    backbone = Backbone(Net(GIVE["tokens"]).to(dtype), "")
    assert backbone.grids((64, 64)).map == (4, 0.5)
