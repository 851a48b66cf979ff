"""The cells of a feature map look where the grid says they do."""

import numpy as np
import pytest
import torch
from torch import nn

from wsl.config import Preprocessing
from wsl.images import place
from wsl.models import create_backbone

# Padded odd kernels look half a cell up and left of the cell's place, unpadded even ones right at it.
SHIFTED = {"resnet18": 32, "resnet50": 32, "mobilenet_v2": 32, "regnet_x_400mf": 32, "shufflenet_v2_x0_5": 32}
IN_PLACE = {"vgg11": 32, "convnext_tiny": 32, "tinynet": 8}


@pytest.mark.parametrize("name", SHIFTED)
def test_padded_odd_kernels_look_up_and_left(name):
    assert create_backbone(name, "none").grids((224, 224)).map == (SHIFTED[name], 0.5)


@pytest.mark.parametrize("name", IN_PLACE)
def test_even_kernels_look_at_their_place(name):
    assert create_backbone(name, "none").grids((224, 224)).map == (IN_PLACE[name], IN_PLACE[name] / 2)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_moves_nothing(output_stride):
    assert create_backbone("resnet18", "none", output_stride).grids((224, 224)).map == (output_stride, 0.5)


@pytest.mark.parametrize("name", ["swin_t", "timm/vit_tiny_patch16_224"])
def test_patches_are_equal_parts(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    backbone = create_backbone(name, "none")
    assert backbone.grids((224, 224)).map in (None, (backbone.stride, backbone.stride / 2))


def even(net: nn.Module) -> nn.Module:
    """The same layers with equal weights and average poolings, whose receptive field has its centre in the middle."""
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.MaxPool2d):
            pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, ceil_mode=module.ceil_mode)
            net.set_submodule(name, pool)
    return net.eval()


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "vgg11", "alexnet", "squeezenet1_0", "tinynet", "densenet121"]
)
def test_the_gradient_s_centre_is_the_cell_s(name):
    """What a cell depends on, weighed by how much, has its centre of mass where the grid puts the cell."""
    torch.manual_seed(0)
    backbone = create_backbone(name, "none")
    even(backbone.net)
    side = 1600 if name == "densenet121" else 800
    images = torch.full((1, 3, 224, side), 1e-4, requires_grad=True)  # so little that no ReLU6 is full
    features = backbone(images)
    cell = features.shape[-1] // 2
    features[..., features.shape[-2] // 2, cell].sum().backward()
    weight = images.grad.abs().sum((0, 1, 2)).double().numpy()
    centre = (weight * (np.arange(side) + 0.5)).sum() / weight.sum()
    assert weight.sum() > 0
    assert centre == pytest.approx(backbone.grid.start + cell * backbone.grid.stride, abs=0.5)


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
@pytest.mark.parametrize("resize", ["warp", "letterbox"])
def test_a_cropped_map_has_its_peak_over_what_the_cell_saw(name, resize):
    grid = create_backbone(name, "none").grids((320, 320)).map
    geometry = place((640, 320), Preprocessing(image_size=320, resize=resize))
    score_map = np.zeros((10, 10), np.float32)
    row, column = 4, 6
    score_map[row, column] = 1
    cropped = geometry.crop_map(score_map, grid).astype(np.float64)
    height, width = cropped.shape
    x = (cropped.sum(0) * (np.arange(width) + 0.5)).sum() / cropped.sum() / width * 640
    y = (cropped.sum(1) * (np.arange(height) + 0.5)).sum() / cropped.sum() / height * 320
    seen = np.array([[grid.start + column * grid.stride, grid.start + row * grid.stride] * 2])
    expected = geometry.boxes_to_original(seen)[0, :2]
    assert (x, y) == pytest.approx(tuple(expected), abs=2.0)
