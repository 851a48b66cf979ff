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


def test_they_are_the_output_of_the_second_stage():
    net = resnet18().eval()
    model = Localizer.from_classifier(net).eval()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stem = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        expected = net.layer2(net.layer1(stem))
        for backbone in (model.backbone, fuse_batch_norm(model).backbone):
            midway = MidwayFeatures(backbone)
            backbone(images)
            torch.testing.assert_close(midway.take(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "output_stride", "grid"),
    [
        ("mobilenet_v2", None, (8, 0.5)),
        ("mobilenet_v2", 16, (8, 0.5)),
        ("mobilenet_v2", 8, (4, 0.5)),
        ("convnext_tiny", None, (8, 4)),
        ("squeezenet1_0", None, (8, 9.5)),
        ("tinynet", None, (4, 2)),
    ],
)
def test_they_are_four_or_eight_pixels_a_cell(name, output_stride, grid):
    backbone = create_backbone(name, "none", output_stride)
    midway = MidwayFeatures(backbone)
    backbone(torch.zeros(2, 3, 96, 96))
    features = midway.take()
    assert midway.grid == grid
    # Layers without padding lose a cell.
    assert 96 // grid[0] - 1 <= features.shape[-1] <= 96 // grid[0]


def test_each_thread_has_its_own():
    backbone = create_backbone("tinynet", "none").eval()
    midway = MidwayFeatures(backbone)
    before = nn.Sequential(*list(backbone.net)[:9])

    def run(seed: int) -> bool:
        with torch.no_grad():
            images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
            backbone(images)
            taken = midway.take()
            return torch.equal(taken, before(images))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(32)))


@pytest.mark.parametrize("name", ["swin_t", "timm/vit_tiny_patch16_224"])
def test_patches_have_no_halfway(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    with pytest.raises(UserError, match=f"{name} has no convolution or pooling that shrinks .* leave --refine out"):
        MidwayFeatures(create_backbone(name, "none"))
