"""Gradient checkpointing: the same numbers with less kept, for networks that are traced and such that are not."""

import pytest
import torch
from torch import nn

from wsl.config import DataConfig, ModelConfig, OptimConfig, TrainConfig
from wsl.errors import UserError
from wsl.models import Backbone, Localizer, create_backbone
from wsl.training.checkpointing import Checkpointing
from wsl.training.erasing import insert_eraser
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import create_objective
from wsl.training.step import Stepper

TRACED = ("tinynet", "resnet18", "mobilenet_v3_small", "densenet121")


class InPlace(nn.Module):
    """Where a single tensor passes, the next operation overwrites it."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))

    def forward(self, x):
        for conv in self.convs:
            x = conv(x)
            x += 1
            x = nn.functional.hardswish(x, inplace=True).mul_(2)
        return x


def steps(model, checkpointing, loss="bce", count=2, dtype=torch.float32):
    """The losses and the state behind a few steps, and the numbers that the last forward pass kept."""
    torch.manual_seed(0)
    model.train()
    objective = create_objective(loss, classes=2, channels=model.backbone.out_channels)
    network = TrainedNetwork(model, objective, dtype, features=False, checkpointing=checkpointing)
    stepper = Stepper(network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9), OptimConfig(), dtype=dtype)
    images, targets = torch.randn(3, 3, 64, 64), torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    example = Example(images, targets, torch.ones(3, 2), torch.arange(3), 3)
    losses = [stepper(example, step, 0.5)[0] for step in range(count)]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return losses, state, kept(network, example)


def kept(network, example) -> int:
    numbers = []

    def see(tensor):
        numbers.append(0 if isinstance(tensor, nn.Parameter) else tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        network(example)
    return sum(numbers)


def same(name, **options):
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = Localizer(name, 2, weights="none", **options.get("model", {}))
        if "erase" in options:
            insert_eraser(model.backbone, options["erase"])
        found.append(steps(model, checkpointing, options.get("loss", "bce"), dtype=options.get("dtype", torch.float32)))
    (losses, state, whole), (again, restored, part) = found
    assert losses == again
    assert state.keys() == restored.keys()
    assert all(torch.equal(state[key], restored[key]) for key in state)
    return part / whole


@pytest.mark.parametrize("name", TRACED)
@pytest.mark.quick("name", ["mobilenet_v3_small", "tinynet"])
def test_weights_and_statistics_are_the_same_to_the_last_bit(name):
    assert same(name) < 0.5


@pytest.mark.parametrize(
    "options",
    [
        {"erase": "adl(drop=0.5)"},
        {"loss": "bce + puzzle"},
        {"model": {"downsampling": "stochasticpool2d"}},
        {"model": {"head": "acol(hidden=8)"}},
        {"dtype": torch.bfloat16},
    ],
    ids=str,
)
@pytest.mark.quick("options", lambda options: "erase" in options)
def test_so_they_are_with_what_draws_at_random_and_runs_twice(options):
    assert same("resnet18", **options) < 1


@pytest.mark.long
@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
@pytest.mark.quick("name", ["squeezenet1_1"])
def test_so_they_are_in_bfloat16(name):
    assert same(name, dtype=torch.bfloat16) < 1


def test_blocks_of_a_network_that_is_not_traced():
    pytest.importorskip("timm")
    assert same("timm/resnet18") < 0.6
    assert Checkpointing(create_backbone("timm/vit_tiny_patch16_224", "none")).parts == 12


def test_no_part_begins_with_what_overwrites_its_input():
    torch.manual_seed(0)
    backbone, images = Backbone(InPlace(), "in place"), torch.randn(2, 3, 16, 16)
    checkpointing = Checkpointing(backbone)
    assert checkpointing.parts > 1
    expected = torch.autograd.grad(backbone(images).sum(), list(backbone.parameters()))
    with checkpointing.applied():
        output = backbone(images)
    assert "forward" not in vars(backbone.net)
    for got, one in zip(torch.autograd.grad(output.sum(), list(backbone.parameters())), expected, strict=True):
        assert torch.equal(got, one)


def test_a_network_without_parts_is_refused():
    with pytest.raises(UserError, match="--checkpointing: Conv2d has no parts to recompute; leave the flag out"):
        Checkpointing(Backbone(nn.Conv2d(3, 4, 3), ""))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim": OptimConfig(freeze_backbone=True)}, "when a backbone is trained, and this one is not"),
        ({"optim": OptimConfig(backbone_lr_factor=0.0)}, "when a backbone is trained, and this one is not"),
        ({"compile": True}, "--checkpointing with --compile"),
        ({"model": ModelConfig(head="scm")}, "--checkpointing with head scm"),
    ],
)
def test_what_does_not_go_with_it_is_refused(settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        TrainConfig(data=DataConfig(data=tmp_path), out=tmp_path, checkpointing=True, **settings)
