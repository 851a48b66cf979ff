"""Positions go along with whatever a network computes, and where they cannot, nothing is said."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsl.cam.layouts import Layout
from wsl.models import create_backbone
from wsl.models.grid import Grid, Placement, place, trace
from wsl.models.position_tracer import PositionTracer


def placed(compute, side=64):
    images = torch.randn(1, 3, side, side)
    with torch.no_grad(), PositionTracer(images) as tracer:
        output = compute(images)
    return place(tracer, output, images)


def conv(x, stride=2, kernel=3, padding=1, channels=None):
    return F.conv2d(x, torch.ones(channels or x.shape[1], x.shape[1], kernel, kernel), None, stride, padding)


def gate(x):
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def windows(x):
    """Into windows of 4 x 4, rolled, through attention within them, and back."""
    rolled = torch.roll(x.permute(0, 2, 3, 1), (-2, -2), (1, 2))
    n, h, w, c = rolled.shape
    parts = rolled.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
    parts = F.scaled_dot_product_attention(parts, parts, parts)
    parts = parts @ torch.ones(c, c)
    back = parts.view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3).reshape(n, h, w, c)
    return torch.roll(back, (2, 2), (1, 2))


def merged(x):
    """Patches of 2 x 2 merged as Swin does it: four shifted copies, side by side."""
    return torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)


SEEN = {
    "padding before": (lambda x: conv(F.pad(x, (0, 1, 0, 1)), padding=0), (2, 1.5)),
    "padding around": (lambda x: conv(x), (2, 0.5)),
    "dilation": (lambda x: F.conv2d(x, torch.ones(3, 3, 3, 3), None, 2, 0, 2), (2, 2.5)),
    "slicing": (lambda x: x[:, :, 3::2, 3::2], (2, 3.5)),
    "a gate": (lambda x: gate(conv(x)), (2, 0.5)),
    "branches that agree": (lambda x: torch.cat([conv(x), F.max_pool2d(x, 3, 2, 1)], 1), (2, 0.5)),
    "branches beside each other": (lambda x: conv(x) + F.avg_pool2d(x, 2), (2, 0.75)),
    "another size and back": (lambda x: F.interpolate(conv(x), scale_factor=2), (1, 0.0)),
    "smoothly": (lambda x: F.interpolate(conv(x), scale_factor=2, mode="bilinear"), (1, 0.0)),
    "corner to corner": (lambda x: F.interpolate(x, (127, 127), mode="bilinear", align_corners=True), (0.5, 0.5)),
    "a shuffle": (lambda x: F.pixel_unshuffle(x, 2) + 0, (2, 1.0)),
    "merged patches": (lambda x: merged(x) * 2, (2, 1.0)),
    "windows": (lambda x: windows(conv(x)), (2, 0.5)),
    "an adaptive pooling": (lambda x: F.adaptive_avg_pool2d(conv(x), 8), (8, 3.5)),
    "a mean of windows": (lambda x: x.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)), (4, 2.0)),
    "in place": (lambda x: conv(x).relu_().add_(1), (2, 0.5)),
    "reflected padding": (lambda x: conv(F.pad(x, (1, 1, 1, 1), mode="reflect"), padding=0), (2, 0.5)),
}


@pytest.mark.parametrize("how", SEEN)
def test_a_grid_is_where_the_operations_put_it(how):
    compute, grid = SEEN[how]
    assert placed(compute).grid == pytest.approx(grid)


UNKNOWN = {
    "sampling": lambda x: F.grid_sample(x, torch.zeros(1, 16, 16, 2), align_corners=False),
    "a transposed convolution": lambda x: F.conv_transpose2d(x, torch.ones(3, 3, 2, 2), stride=2),
    "a matrix on the places": lambda x: (x.flatten(2) @ torch.ones(64 * 64, 256)).view(1, 3, 16, 16),
    "sorting": lambda x: x.sort(-1).values,
    "unequal parts": lambda x: F.adaptive_avg_pool2d(x, 7),
    "a mirror": lambda x: x.flip(3),
    "a map of one row": lambda x: conv(x[:, :, :1]),
    "one number each": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 8, 8),
    "rows that differ": lambda x: torch.cat([x[..., ::2], x[..., :32]], 2),
}


@pytest.mark.parametrize("how", UNKNOWN)
def test_what_cannot_be_followed_has_no_grid(how):
    assert placed(UNKNOWN[how]).grid is None


@pytest.mark.parametrize("side", [224, 225, 600])
@pytest.mark.parametrize(("name", "patch"), [("vit_tiny_patch16_224", 16), ("vit_small_patch14_reg4_dinov2", 14)])
@pytest.mark.quick("name, side", [("vit_tiny_patch16_224", 225), ("vit_small_patch14_reg4_dinov2", 224)])
def test_tokens_of_every_block_lie_on_the_grid_of_the_patches(name, patch, side):
    timm = pytest.importorskip("timm")
    net = timm.create_model(name, dynamic_img_size=True, dynamic_img_pad=True, depth=3).eval()
    layers = ["patch_embed", "blocks.0.norm1", "blocks.1.mlp.fc1", "blocks.1.attn", "blocks.2", "norm"]
    found = trace(net, torch.zeros(1, 3, side, side), layers)
    cells = -(-side // patch)
    layout = Layout("tokens", (cells, cells), net.num_prefix_tokens)
    assert found.pop("patch_embed").grid == (patch, patch / 2)
    assert found == dict.fromkeys(found, Placement(layout, Grid(patch, patch / 2)))
    assert len(found) == 5


def test_layers_of_all_layouts_and_those_without_a_map():
    timm = pytest.importorskip("timm")
    net = timm.create_model("swin_tiny_patch4_window7_224", depths=(1, 1, 1, 1)).eval()
    layers = ["patch_embed", "layers.1.downsample", "layers.1.blocks.0.attn.qkv", "layers.3", "norm", "head.fc"]
    found = trace(net, torch.zeros(1, 3, 224, 224), layers)
    assert found["patch_embed"] == (("nhwc", (56, 56), 0), (4, 2))
    assert found["layers.1.downsample"] == (("nhwc", (28, 28), 0), (8, 4))
    assert found["layers.3"] == found["norm"] == (("nhwc", (7, 7), 0), (32, 16))
    assert found["layers.1.blocks.0.attn.qkv"] == (None, None)  # tokens of single windows
    assert found["head.fc"] == (None, None)


def test_tracing_leaves_nothing_behind():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 2))

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    assert trace(net, torch.zeros(2, 3, 32, 32), ["0", "1", "3"])["1"].grid == (2, 0.5)
    hook = net[2].register_forward_hook(stop)
    with pytest.raises(Stop):
        trace(net, torch.zeros(2, 3, 32, 32), ["0"])
    hook.remove()
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None
    assert trace(net, torch.zeros(1, 3, 32, 32), ["1"], call=lambda images: net[:2](images))["1"].grid == (2, 0.5)


class Layer(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad])
def test_a_network_can_be_traced_in_any_mode(mode):
    for compute, grid in SEEN.values():
        with mode():
            found = trace(nn.Sequential(Layer(compute)), torch.zeros(1, 3, 64, 64), ["0"])
        assert found["0"].grid == pytest.approx(grid)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_scripted_and_wrapped_networks_are_followed():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)).eval()
    for other in (torch.jit.trace(net, torch.zeros(1, 3, 64, 64), check_trace=False), nn.DataParallel(net)):
        assert placed(other).grid == (4, 0.5)


def test_threads_ask_for_several_sizes_at_once():
    pytest.importorskip("timm")
    backbone = create_backbone("timm/tf_efficientnet_lite0", "none").eval()
    sides = [64, 65, 96, 97] * 2
    expected = {side: copy.deepcopy(backbone).grids((side, side)) for side in set(sides)}
    from wsl.models.taps import TapReader

    reader, found = TapReader(backbone), []
    threads = [
        threading.Thread(target=lambda side=side: found.append((side, backbone.grids((side, side), reader))))
        for side in sides
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(sides)
    assert all(grids == expected[side] for side, grids in found)
    assert len({grids.map for grids in expected.values()}) > 1
