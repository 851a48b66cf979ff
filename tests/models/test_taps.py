"""Intermediate features are those of the network's own blocks, and lie where the grid says."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from wsl.models import Localizer, create_backbone, resolve_refine
from wsl.models.fuse import fuse_batch_norm
from wsl.models.taps import TapReader


def read(backbone, images):
    with torch.no_grad(), TapReader(backbone).reading() as features:
        backbone(images)
    return tuple(features[name] for name in backbone.taps)


def test_they_are_the_outputs_of_the_second_and_third_stage():
    net = resnet18().eval()
    model = Localizer.from_classifier(net).eval()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stem = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        second = net.layer2(net.layer1(stem))
        expected = (second, net.layer3(second))
    for backbone in (model.backbone, fuse_batch_norm(model).backbone):
        torch.testing.assert_close(read(backbone, images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.quick("output_stride", [16])
def test_dilated_stages_count_as_before(output_stride):
    """The same layers, now finer: where they looked before they see the same."""
    torch.manual_seed(0)
    plain, fine = (
        Localizer.from_classifier(net, output_stride=stride).eval().backbone
        for net in [resnet18().eval()]
        for stride in (None, output_stride)
    )
    images = torch.rand(1, 3, 64, 64)
    for before, after, grid in zip(read(plain, images), read(fine, images), fine.grids((64, 64)).taps, strict=True):
        step = after.shape[-1] // before.shape[-1]
        torch.testing.assert_close(after[..., ::step, ::step], before, rtol=1e-4, atol=1e-4)
        assert grid == (64 // after.shape[-1], 0.5)


@pytest.mark.parametrize(
    ("name", "grids", "refine"),
    [
        ("mobilenet_v2", ((8, 0.5), (16, 0.5)), "affinity"),
        ("convnext_tiny", ((8, 4), (16, 8)), "affinity"),
        ("squeezenet1_0", ((4, 5.5), (8, 9.5)), "affinity"),
        ("densenet121", ((8, 2.5), (16, 6.5)), "affinity"),
        ("tinynet", ((4, 2),), "none"),
        ("swin_t", (), "none"),
    ],
)
@pytest.mark.quick("name", ["mobilenet_v2", "squeezenet1_0", "tinynet"])
def test_they_are_of_the_last_stages_before_the_map(name, grids, refine):
    model = Localizer(name, 2, weights="none").eval()
    assert model.backbone.grids((224, 224)).taps == grids
    assert model.levels == len(grids)
    for features, (stride, _) in zip(read(model.backbone, torch.zeros(2, 3, 96, 96)), grids, strict=True):
        # Layers without padding lose a cell or two.
        assert 96 // stride - 2 <= features.shape[-1] <= 96 // stride
    assert resolve_refine("auto", model) == refine


def test_each_thread_reads_its_own():
    backbone = create_backbone("tinynet", "none").eval()
    reader = TapReader(backbone)
    before = nn.Sequential(*list(backbone.net)[:9])

    def run(seed: int) -> bool:
        images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            with reader.reading() as features:
                backbone(images)
            return torch.equal(features[backbone.taps[0]], before(images))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(run, range(32)))


def test_nothing_is_kept_where_nobody_reads():
    backbone = create_backbone("tinynet", "none").eval()
    reader = TapReader(backbone)
    backbone(torch.zeros(1, 3, 32, 32))
    with reader.reading() as features:
        pass
    assert features == {}
