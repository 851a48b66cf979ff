"""The features from halfway are those of the network's own blocks, and lie where the grid says."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from wsl.errors import UserError
from wsl.models import Localizer, create_backbone
from wsl.models.fuse import fuse_batch_norm
from wsl.models.midway import MidwayFeatures


def test_they_are_the_outputs_of_the_second_and_third_stage():
    net = resnet18().eval()
    model = Localizer.from_classifier(net).eval()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stem = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        second = net.layer2(net.layer1(stem))
        expected = (second, net.layer3(second))
        for backbone in (model.backbone, fuse_batch_norm(model).backbone):
            midway = MidwayFeatures(backbone)
            backbone(images)
            torch.testing.assert_close(midway.take(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_stages_count_as_before(output_stride):
    """The same layers, now finer: where they looked before they see the same."""
    torch.manual_seed(0)
    plain, fine = (
        Localizer.from_classifier(net, output_stride=stride).eval().backbone
        for net in [resnet18().eval()]
        for stride in (None, output_stride)
    )
    images = torch.rand(1, 3, 64, 64)
    taken = []
    for backbone in (plain, fine):
        midway = MidwayFeatures(backbone)
        with torch.no_grad():
            backbone(images)
        taken.append(midway.take())
    for before, after, grid in zip(*taken, midway.grids, strict=True):
        step = after.shape[-1] // before.shape[-1]
        torch.testing.assert_close(after[..., ::step, ::step], before, rtol=1e-4, atol=1e-4)
        assert grid == (64 // after.shape[-1], 0.5)


@pytest.mark.parametrize(
    ("name", "grids"),
    [
        ("mobilenet_v2", ((8, 0.5), (16, 0.5))),
        ("convnext_tiny", ((8, 4), (16, 8))),
        ("squeezenet1_0", ((4, 5.5), (8, 9.5))),
        ("densenet121", ((8, 2.5), (16, 6.5))),
        ("tinynet", ((4, 2),)),
    ],
)
def test_they_are_of_the_last_stages_before_the_map(name, grids):
    backbone = create_backbone(name, "none")
    midway = MidwayFeatures(backbone)
    backbone(torch.zeros(2, 3, 96, 96))
    assert midway.grids == grids
    for features, (stride, _) in zip(midway.take(), grids, strict=True):
        # Layers without padding lose a cell or two.
        assert 96 // stride - 2 <= features.shape[-1] <= 96 // stride


def test_each_thread_has_its_own():
    backbone = create_backbone("tinynet", "none").eval()
    midway = MidwayFeatures(backbone)
    before = nn.Sequential(*list(backbone.net)[:9])

    def run(seed: int) -> bool:
        with torch.no_grad():
            images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
            backbone(images)
            (taken,) = midway.take()
            return torch.equal(taken, before(images))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(32)))


@pytest.mark.parametrize("name", ["swin_t", "timm/vit_tiny_patch16_224"])
def test_patches_have_no_halfway(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(UserError, match=f"{name} has no convolution or pooling that shrinks .* leave --refine out"):
        MidwayFeatures(create_backbone(name, "none"))
