"""Any timm network as a backbone: at its own size, at others where it takes them, and one line where not."""

import pytest
import torch

from wsl.errors import UserError
from wsl.models import Localizer, create_backbone

timm = pytest.importorskip("timm")

# Channels, cells at the network's own size, and what their kind of layout is.
FAMILIES = {
    "vit_tiny_r_s16_p8_224": (192, 7, "tokens"),  # its patches are of the map of its convolutions
    "deit_tiny_distilled_patch16_224": (192, 14, "tokens"),
    "mixer_s16_224": (512, 14, "tokens"),
    "levit_128s": (384, 4, "tokens"),
    "efficientformer_l1": (448, 7, "tokens"),
    "hiera_tiny_224": (768, 7, "tokens"),
    "coat_tiny": (152, 7, "tokens"),  # a list of several scales
    "swinv2_tiny_window8_256": (768, 8, "nhwc"),
    "maxvit_nano_rw_256": (512, 8, "nchw"),
    "mobilevit_xxs": (320, 8, "nchw"),
    "vgg11": (512, 7, "nchw"),
}


# A smaller one of each kind is quick.
LARGE = ("efficientformer_l1", "hiera_tiny_224", "swinv2_tiny_window8_256", "maxvit_nano_rw_256", "vgg11")
LARGE += ("coat_tiny", "mixer_s16_224", "vit_tiny_r_s16_p8_224")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.quick("name", FAMILIES.keys() - LARGE)
def test_features_are_the_network_s_own(name):
    channels, cells, kind = FAMILIES[name]
    torch.manual_seed(0)
    backbone = create_backbone(f"timm/{name}", "none").eval()
    side = timm.get_pretrained_cfg(name).input_size[-1]
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found, own = backbone(images), backbone.net.net.forward_features(images)
    assert found.shape == (2, channels, cells, cells)
    assert backbone._reading.kind == kind
    own = own[-1] if isinstance(own, (tuple, list)) else own
    if kind == "tokens":
        own = own[:, own.shape[1] - cells * cells :].transpose(1, 2).reshape(2, channels, cells, cells)
    elif kind == "nhwc":
        own = own.permute(0, 3, 1, 2)
    assert torch.equal(found, own)


@pytest.mark.parametrize(
    ("name", "size", "map_size"),
    [
        ("vit_tiny_patch16_224", (96, 160), (6, 10)),
        ("vit_tiny_patch16_224", (225, 225), (15, 15)),  # padded to whole patches
        ("vit_small_patch14_reg4_dinov2", (96, 160), (7, 12)),
        ("eva02_tiny_patch14_224", (100, 100), (8, 8)),
        ("swin_tiny_patch4_window7_224", (96, 160), (3, 5)),
        ("xcit_nano_12_p16_224", (96, 160), (6, 10)),
        ("davit_tiny", (96, 160), (3, 5)),
    ],
)
@pytest.mark.quick("name", ["vit_tiny_patch16_224", "xcit_nano_12_p16_224"])
def test_other_sizes_where_the_architecture_takes_them(name, size, map_size):
    backbone = create_backbone(f"timm/{name}", "none").eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, *size)).shape[2:] == map_size


@pytest.mark.parametrize(
    ("name", "size", "own"),
    [
        ("mixer_s16_224", 192, 224),
        ("levit_128s", 256, 224),
        ("efficientformer_l1", 256, 224),
        ("hiera_tiny_224", 256, 224),
        ("swinv2_tiny_window8_256", 250, 256),
        ("maxvit_nano_rw_256", 224, 256),
    ],
)
@pytest.mark.quick("name", ["levit_128s"])
def test_another_size_is_one_line_where_it_is_fixed(name, size, own):
    backbone = create_backbone(f"timm/{name}", "none").eval()
    message = rf"^timm/{name} does not take images of {size} x {size} \([^\n]*\): expected .* such as {own} x {own}$"
    with pytest.raises(UserError, match=message):
        backbone(torch.zeros(1, 3, size, size))
    with pytest.raises(UserError, match=message):
        backbone.grids((size, size))


def test_a_mistake_at_the_network_s_own_size_is_not_about_sizes():
    backbone = create_backbone("timm/mixer_s16_224", "none").eval()
    with pytest.raises(RuntimeError, match=r"dtype|type"):
        backbone(torch.zeros(1, 3, 224, 224, dtype=torch.float64))


def test_a_network_without_places_is_one_line():
    with pytest.raises(
        UserError, match=r"^timm/pit_ti_224 gives [^\n]*: expected a backbone with a feature map[^\n]*$"
    ):
        create_backbone("timm/pit_ti_224", "none")


def test_a_model_on_tokens_trains_and_localizes():
    model = Localizer("timm/deit_tiny_distilled_patch16_224", 2, weights="none", pooling="lse(beta=4)")
    scores, maps = model(torch.randn(2, 3, 224, 224))
    scores.sum().backward()
    assert maps.shape == (2, 2, 14, 14)
    assert all(p.grad is not None for name, p in model.named_parameters() if name.endswith("mlp.fc1.weight"))
