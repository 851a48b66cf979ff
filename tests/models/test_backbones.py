"""Backbones by name: feature maps, finer ones by dilation, weights from files, clear refusals."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models as torchvision_models

from wsl.errors import UserError
from wsl.models import create_backbone, create_classifier, list_backbones
from wsl.models.checkpoint import open_model
from wsl.models.fuse import fuse_activations, fuse_batch_norm
from wsl.models.localizer import Localizer

MAPS = {
    "alexnet": (256, 32),
    "convnext_tiny": (768, 32),
    "densenet121": (1024, 32),
    "maxvit_t": (512, 32),
    "mobilenet_v3_small": (576, 32),
    "squeezenet1_0": (512, 16),
    "swin_t": (768, 32),
    "vgg11_bn": (512, 32),
    "tinynet": (128, 8),
}
# The weights of others alone take seconds.
SMALL = ("alexnet", "mobilenet_v3_small", "squeezenet1_0", "tinynet")
DILATES = ["resnet18", "resnet50", "mobilenet_v2", "shufflenet_v2_x0_5", "mnasnet0_5", "regnet_x_400mf"]


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.quick("name", SMALL)
def test_every_family_gives_a_feature_map(name):
    channels, stride = MAPS[name]
    backbone = create_backbone(name, "none")
    assert (backbone.out_channels, backbone.stride) == (channels, stride)
    assert backbone(torch.zeros(1, 3, 224, 224)).shape[:2] == (1, channels)


def test_the_cells_of_tinynet_see_what_lies_around_them():
    torch.manual_seed(0)
    backbone, images = create_backbone("tinynet", "none").eval(), torch.randn(1, 3, 128, 128, requires_grad=True)
    backbone(images)[0, :, 8, 8].sum().backward()
    seen = images.grad.abs().sum((0, 1)).nonzero()
    assert (seen.min() + seen.max()) / 2 == 8 * 8 + 3.5  # the middle of the cell's 8 pixels


@pytest.mark.parametrize("name", DILATES)
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.quick("output_stride", [8])
@pytest.mark.quick("name", ["resnet18"])
def test_dilation_keeps_the_values_at_the_old_positions(name, output_stride):
    torch.manual_seed(0)
    plain = create_backbone(name, "none").eval()
    dilated = create_backbone(name, "none", output_stride).eval()
    dilated.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 128, 192)
    step = plain.stride // output_stride
    with torch.no_grad():
        coarse, fine = plain(images), dilated(images)
    assert fine.shape[-1] == coarse.shape[-1] * step
    scale = coarse.abs().max()
    assert scale > 0
    assert (fine[..., ::step, ::step] - coarse).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("name", ["densenet121", "swin_t", "inception_v3", "tinynet", "vgg11", "maxvit_t"])
@pytest.mark.quick("name", ["tinynet"])
def test_what_cannot_be_dilated_says_so(name, capsys):
    with pytest.raises(UserError, match="output stride"):
        create_backbone(name, "none", 16)
    assert capsys.readouterr().err == ""


def test_unknown_names_get_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'resnet50'"):
        create_backbone("resent50")
    with pytest.raises(UserError, match="IMAGENET1K_V1"):
        create_classifier("resnet18", "IMAGENET1K_V9")
    with pytest.raises(UserError, match="tinynet is a backbone without a classifier"):
        create_classifier("tinynet")
    with pytest.raises(UserError, match=r"no model 'tinynet'.*: expected a run") as caught:
        open_model("tinynet")
    assert "did you mean 'tinynet'" not in str(caught.value)
    assert {"resnet50", "tinynet", "swin_t"} <= set(list_backbones())


def test_a_local_file_decides_the_number_of_classes(tmp_path):
    net = torchvision_models.resnet18(num_classes=7)
    torch.save(net.half().state_dict(), tmp_path / "seven.pth")
    built = create_classifier("resnet18", str(tmp_path / "seven.pth"))
    assert built.net.fc.out_features == 7
    assert built.classes == ()
    assert built.net.fc.weight.dtype == torch.float32
    torch.testing.assert_close(built.net.fc.weight, net.fc.weight.float())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.quick("name", ["googlenet"])
def test_auxiliary_classifiers_may_be_in_the_file_or_not(name, auxiliary, tmp_path):
    net = torchvision_models.get_model(name, weights=None, init_weights=False)
    state = {k: v.contiguous() for k, v in net.state_dict().items() if auxiliary or not k.lower().startswith("aux")}
    save_file(state, tmp_path / "weights.safetensors")
    built = create_classifier(name, str(tmp_path / "weights.safetensors"))
    assert torch.equal(built.net.fc.weight, net.fc.weight)


def test_files_that_do_not_fit_are_refused(tmp_path):
    torch.save(torchvision_models.resnet34().state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"does not fit resnet18"):
        create_classifier("resnet18", str(tmp_path / "other.pth"))
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(UserError, match=r"text\.pth"):
        create_classifier("resnet18", str(tmp_path / "text.pth"))
    with pytest.raises(UserError, match="no weights"):
        create_classifier("resnet18", str(tmp_path / "missing.pth"))


class Evil:
    def __reduce__(self):
        return (print, ("pickled code ran",))


def test_pickled_code_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="pickled code"):
        create_classifier("resnet18", str(tmp_path / "evil.pth"))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "channels"),
    [("resnet18", 512), ("vit_tiny_patch16_224", 192), ("swin_tiny_patch4_window7_224", 768), ("convnext_atto", 320)],
)
@pytest.mark.quick("name", ["vit_tiny_patch16_224", "convnext_atto"])
def test_timm_backbones(name, channels):
    pytest.importorskip("timm")
    backbone = create_backbone(f"timm/{name}", "none")
    assert backbone.out_channels == channels
    side = 224 // backbone.stride
    assert backbone(torch.zeros(2, 3, 224, 224)).shape == (2, channels, side, side)


def test_a_timm_transformer_takes_other_sizes_and_keeps_the_places():
    pytest.importorskip("timm")
    backbone = create_backbone("timm/vit_tiny_patch16_224", "none").eval()
    assert backbone(torch.zeros(1, 3, 96, 160)).shape == (1, 192, 6, 10)


def test_timm_names_and_strides_are_checked():
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="did you mean 'resnet18'"):
        create_backbone("timm/resnet81", "none")
    assert create_backbone("timm/resnet18", "none", 16).stride == 16
    with pytest.raises(UserError, match="output_stride"):
        create_backbone("timm/vit_tiny_patch16_224", "none", 8)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "densenet121", "efficientnet_b0"])
@pytest.mark.quick("name", ["resnet18", "mobilenet_v2"])
def test_folding_the_batch_norms_changes_nothing(name):
    torch.manual_seed(0)
    model = Localizer(name, 3, weights="none")
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    fused, images = fuse_batch_norm(model), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, got = model.eval()(images), fused(images)
    scale = expected.maps.abs().max()
    assert scale > 0
    assert (got.maps - expected.maps).abs().max() < 1e-4 * scale


@pytest.mark.long
@pytest.mark.realdata
def test_imagenet_weights_classify_imagenet_photographs(realdata):
    """The check of the data folder's README: 80.4 % top-1 of mobilenet_v2 with torchvision's padding."""
    from wsl.inference import localize

    model = Localizer.from_classifier("mobilenet_v2", str(realdata / "weights" / "mobilenet_v2-coral-tf2ptq-fp16.pth"))
    lines = (realdata / "imagenet_samples" / "labels.tsv").read_text().splitlines()[1:]
    wanted = {name: int(index) for name, index, *_ in (line.split("\t") for line in lines)}
    found = list(localize(model, realdata / "imagenet_samples", image_size=224))
    right = sum(next(iter(f.scores)) == model.classes[wanted[f.path.name]] for f in found)
    assert len(found) == 100
    assert right >= 70  # of whole images warped to a square; the README's figure is of centre crops


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "squeezenet1_1", "densenet121"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.quick("name", ["squeezenet1_1"])
def test_activations_in_convolutions_change_nothing_but_rounding(name, dtype):
    torch.manual_seed(0)
    model = fuse_batch_norm(Localizer(name, 2, weights="none")).requires_grad_(False)
    for layer in model.backbone.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.to(dtype)
    joined = copy.deepcopy(model)
    fuse_activations(joined)
    activations = [sum(type(m).__name__.startswith("ReLU") for m in one.modules()) for one in (model, joined)]
    # Where the processor's oneDNN has no bfloat16, they stay.
    has = dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert (activations[1] < activations[0]) == has
    images = torch.randn(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        expected, found = model.backbone(images), joined.backbone(images)
    torch.testing.assert_close(found, expected)


def test_a_convolution_that_is_used_twice_keeps_what_is_behind_it():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1)
            self.act, self.norm, self.pool = torch.nn.ReLU(), torch.nn.BatchNorm2d(3), torch.nn.AdaptiveAvgPool2d(1)
            self.last = torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.last(torch.flatten(self.pool(self.norm(self.conv(self.act(self.conv(x))))), 1))

    torch.manual_seed(0)
    model = Localizer.from_classifier(Twice()).eval()
    model.backbone.net.norm.running_mean += 1
    images = torch.randn(2, 3, 32, 32)
    ready = model.for_inference(torch.device("cpu"), torch.float32)(images)
    torch.testing.assert_close(ready.scores, model(images).scores, rtol=1e-4, atol=1e-5)
