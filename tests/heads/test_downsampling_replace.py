"""Other poolings in the places of a network's own."""

import pytest
import torch
from torch import nn
from torchvision import models

import heads
from heads import Replacement, replace_pooling
from heads.downsampling import AvgPool2d, MaxPool2d, PowerPool2d, SoftPool1d, SoftPool2d


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.Sequential(nn.AvgPool2d(2, stride=(2, 1), count_include_pad=False), nn.ReLU()),
        nn.AvgPool2d((3, 1), stride=1, padding=(1, 0)),
        nn.MaxPool2d(2, return_indices=True),
        nn.MaxPool1d(2),
        nn.AdaptiveAvgPool2d(1),
    )


def test_layers_keep_their_window_and_it_says_which():
    model = network()
    before = list(model)
    changed = replace_pooling(model, SoftPool2d)
    assert [(name, repr(new)) for name, _, new in changed] == [
        ("1", "softpool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True)"),
        ("2.0", "softpool2d(kernel_size=2, stride=(2, 1), padding=0)"),
        ("3", "softpool2d(kernel_size=(3, 1), stride=1, padding=(1, 0), count_include_pad=True)"),
    ]
    assert all(isinstance(change, Replacement) and model.get_submodule(change.name) is change.new for change in changed)
    assert changed[0].old is before[1]
    assert [model[index] is before[index] for index in (0, 4, 5, 6)] == [True] * 4


@pytest.mark.parametrize(("kind", "names"), [("max", ["1"]), ("average", ["2.0", "3"]), ("both", ["1", "2.0", "3"])])
def test_max_average_or_both(kind, names):
    assert [change.name for change in replace_pooling(network(), "medianpool2d", kind)] == names


def test_dimensions_are_those_of_the_new_one():
    assert [change.name for change in replace_pooling(network(), SoftPool1d)] == ["5"]
    assert replace_pooling(network(), "softpool3d") == []


def test_the_same_function_by_our_names():
    """Max by max and average by average: the network computes what it did."""
    model = models.densenet121(num_classes=3).eval()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = model(images)
    assert [change.name for change in replace_pooling(model, MaxPool2d, "max")] == ["features.pool0"]
    assert len(replace_pooling(model, AvgPool2d, "average")) == 3
    torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "squeezenet1_1", "googlenet"])
@pytest.mark.quick("name", ["resnet18", "squeezenet1_1"])
def test_networks_keep_their_sizes(name):
    options = {"init_weights": False} if name == "googlenet" else {}
    model = models.get_model(name, weights=None, num_classes=3, **options).eval()
    windows = [(m.kernel_size, m.ceil_mode) for m in model.modules() if isinstance(m, nn.MaxPool2d)]
    convolutions = [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)]
    changed = replace_pooling(model, "softpool2d")
    assert [(change.new.kernel_size, change.new.ceil_mode) for change in changed] == windows
    assert [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)] == convolutions
    assert model(torch.zeros(1, 3, 65, 70)).shape == (1, 3)


def test_what_the_spec_gives_goes_before_what_the_layer_has():
    model = network()
    changed = replace_pooling(model, "powerpool2d(kernel_size=5, padding=2, p=4)", "max")
    assert repr(changed[0].new) == "powerpool2d(kernel_size=5, stride=2, padding=2, p=4, ceil_mode=True)"


def test_a_layer_in_two_places_stays_one():
    pool = nn.MaxPool2d(2)
    model = nn.Sequential(pool, nn.Conv2d(3, 3, 1), pool)
    changed = replace_pooling(model, "powerpool2d(learnable=True)")
    assert [change.name for change in changed] == ["0", "2"]
    assert model[0] is model[2]
    assert len(list(model.parameters())) == 3


def test_mode_and_device_are_the_networks():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)).eval().to("meta")
    (change,) = replace_pooling(model, "adapool2d")
    assert not change.new.training
    assert change.new.logit_beta.device.type == "meta"


def test_subclasses_of_torchs_layers_are_left_alone():
    class Same(nn.MaxPool2d):
        pass

    assert replace_pooling(nn.Sequential(Same(2)), SoftPool2d) == []


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"model is itself the pooling layer MaxPool2d.*: expected a network"):
        replace_pooling(nn.MaxPool2d(2), SoftPool2d)
    with pytest.raises(TypeError, match=r"model is 'resnet18', expected a torch\.nn\.Module"):
        replace_pooling("resnet18", SoftPool2d)
    with pytest.raises(ValueError, match="kind is 'mean', expected 'max' or 'average' or 'both'"):
        replace_pooling(network(), SoftPool2d, "mean")
    for wrong in (nn.MaxPool2d, SoftPool2d(2), None, heads.downsampling.Downsampling):
        with pytest.raises(TypeError, match=r"expected a class of heads\.downsampling or a spec"):
            replace_pooling(network(), wrong)
    for wrong, message in (("softpol2d", "did you mean 'softpool2d'"), ("mixedpool2d(lam=2)", "lam is 2")):
        with pytest.raises(ValueError, match=message):
            replace_pooling(nn.Sequential(), wrong)
    with pytest.raises(ValueError, match=r"0 is AvgPool2d.*, whose divisor no other pooling has"):
        replace_pooling(nn.Sequential(nn.AvgPool2d(2, divisor_override=3)), PowerPool2d)
