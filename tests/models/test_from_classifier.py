"""Any classifier of the form global average pooling + linear gives its own logits, and maps that explain them."""

import pytest
import torch
from torch import fx, nn
from torchvision import models as torchvision_models
from torchvision.models.convnext import CNBlockConfig

from wsl.errors import UserError
from wsl.models import CamLocalizer, Localizer

# One of each torchvision family that has the form; SqueezeNet classifies by a convolution before the pooling.
HAS_FORM = [
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "wide_resnet50_2",
]
HAS_ANOTHER = {
    "alexnet": "avgpool",
    "maxvit_t": "LayerNorm",
    "mobilenet_v3_small": "Hardswish",
    "vgg11": "AdaptiveAvgPool2d",
    "vit_b_32": "class token",
}


# The least that Inception and GoogLeNet take in training.
SIDE = 160


def lively(name: str) -> nn.Module:
    """An untrained classifier whose logits have the size of a trained one's, so that a difference would show."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = torchvision_models.get_model(name, weights=None, **options)
    if name in ("googlenet", "inception_v3"):
        net.AuxLogits = net.aux1 = net.aux2 = None  # the auxiliary classifiers take larger images only
    net.train()
    with torch.no_grad():
        for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = None  # the running statistics become those of the batch
        net(torch.randn(4, 3, SIDE, SIDE))
        net.eval()
        last = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
        spread = net(torch.randn(2, 3, SIDE, SIDE)).std()
        last.weight /= spread
    return net


LARGE = (  # building these takes seconds
    *("convnext_tiny", "wide_resnet50_2", "swin_v2_t", "efficientnet_v2_s", "maxvit_t", "vgg11", "vit_b_32"),
    *("densenet121", "inception_v3", "resnet50", "resnext50_32x4d", "alexnet"),
    *("swin_t", "googlenet", "regnet_x_400mf", "efficientnet_b0"),
)


@pytest.mark.parametrize("name", HAS_FORM)
@pytest.mark.quick("name", ["resnet18", "mobilenet_v2", "squeezenet1_1"])
def test_logits_are_the_classifiers_own(name):
    net = lively(name)
    images = torch.randn(2, 3, SIDE, SIDE + 32)
    model = Localizer.from_classifier(net)
    with torch.no_grad():
        expected, (scores, maps) = net(images), model(images)
    assert expected.std() > 0.3
    assert (scores - expected).abs().max() < 1e-4
    torch.testing.assert_close(maps.mean((2, 3)), scores, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "found"), HAS_ANOTHER.items())
@pytest.mark.quick("name", HAS_ANOTHER.keys() - LARGE)
def test_another_form_is_refused_and_named(name, found):
    net = torchvision_models.get_model(name, weights=None)
    with pytest.raises(UserError, match=found):
        Localizer.from_classifier(net, method="cam")


def test_the_caller_s_module_is_neither_changed_nor_shared():
    net = torchvision_models.resnet18().eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    model = Localizer.from_classifier(net, output_stride=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.layer4[0].conv1.stride == (2, 2)


def test_a_linear_layer_without_bias_and_a_mean_in_the_code():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5, bias=False)

        def forward(self, x):
            return self.fc(self.conv(x).relu().mean(dim=(-2, -1)))

    net, images = Net().eval(), torch.randn(2, 3, 9, 9)
    model = Localizer.from_classifier(net)
    torch.testing.assert_close(model(images).scores, net(images))


def test_a_module_that_branches_on_data_has_the_form_although_it_cannot_be_traced():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

        def forward(self, x):
            x = self.conv(x)
            return self.fc((x if x.sum() > 0 else -x).relu().mean((2, 3)))

    net, images = Net().eval(), torch.randn(2, 3, 9, 9)
    model = Localizer.from_classifier(net)
    assert isinstance(model, CamLocalizer)  # the last layer is the convolution, and what follows it is not linear
    torch.testing.assert_close(model(images).scores, net(images))


def test_timm_classifier_by_module():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("resnet18", pretrained=False).eval()
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert (Localizer.from_classifier(net)(images).scores - net(images)).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["regnetx_002", pytest.param("resnet18", marks=pytest.mark.long)])
def test_a_layer_of_a_whole_classifier_is_fused_for_inference(name, monkeypatch):
    """timm's networks are read at a layer; for inference what follows it is cut off and batch norms are folded."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False)
    monkeypatch.setattr("wsl.models.timm_models.create_timm", lambda *_, **__: net)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    model = Localizer.from_classifier(f"timm/{name}", "none").eval()
    assert model.recipe.layer
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        expected = model(images)
    ready = model.for_inference(torch.device("cpu"), torch.float32)
    output = ready(images, taps=True)
    torch.testing.assert_close(output.scores, expected.scores, rtol=1e-3, atol=1e-4)
    maps = output.maps_of(torch.tensor([[1, 2], [3, 4]]))
    torch.testing.assert_close(maps[1, 1], expected.maps[1, 4], rtol=1e-3, atol=1e-4)
    assert len(output.taps) == 2
    folded = ready._model.backbone.net
    assert isinstance(folded, fx.GraphModule)
    if name == "resnet18":  # the norms of the other are part of layers of timm's own
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


def test_a_network_without_a_classifier_is_told():
    pytest.importorskip("timm")
    message = r"timm/vit_small_patch14_dinov2 has no classifier.* wsl-train --data DATA .* --head ts-cam, then"
    with pytest.raises(UserError, match=message):
        Localizer.from_classifier("timm/vit_small_patch14_dinov2", "none")


def test_a_norm_behind_the_pooling_makes_only_the_maps_asked_for():
    """ConvNeXt's maps of two classes are those of all classes, and no others are computed."""
    torch.manual_seed(0)
    blocks = [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)]
    model = Localizer.from_classifier(torchvision_models.ConvNeXt(blocks)).eval()
    images = torch.randn(2, 3, 64, 96)
    ready = model.for_inference(torch.device("cpu"), torch.float32)
    ready._model.head.class_maps = None  # which makes those of all classes
    output = ready(images)
    with torch.no_grad():
        expected = model(images)
    torch.testing.assert_close(output.scores, expected.scores, rtol=1e-3, atol=1e-5)
    maps = output.maps_of(torch.tensor([[1, 2], [3, 4]]))
    torch.testing.assert_close(maps[1], expected.maps[1, [3, 4]], rtol=1e-3, atol=1e-5)
