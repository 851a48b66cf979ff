"""The cells of a feature map look where the grid says they do."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from wsl.config import Preprocessing
from wsl.images import place
from wsl.models import create_backbone
from wsl.models.backbone import Backbone
from wsl.models.position_tracer import PositionTracer
from wsl.models.positions import line, plane

# Padded odd kernels look half a cell up and left of the cell's place, unpadded even ones right at it.
SHIFTED = {"resnet18": 32, "resnet50": 32, "mobilenet_v2": 32, "regnet_x_400mf": 32, "shufflenet_v2_x0_5": 32}
IN_PLACE = {"vgg11": 32, "convnext_tiny": 32, "tinynet": 8}


@pytest.fixture(scope="module")
def backbone_of() -> Iterator[Callable[[str], Backbone]]:
    """Random networks by their names, each built once: of a large one, the weights take seconds."""
    built: dict[str, Backbone] = {}

    def backbone_of(name: str) -> Backbone:
        if name.startswith("timm"):
            pytest.importorskip("timm")
        if name not in built:
            torch.manual_seed(0)
            built[name] = create_backbone(name, "none").eval()
        return built[name]

    yield backbone_of
    built.clear()


@pytest.mark.parametrize("name", SHIFTED)
@pytest.mark.quick("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_padded_odd_kernels_look_up_and_left(backbone_of, name):
    assert backbone_of(name).grids((224, 224)).map == (SHIFTED[name], 0.5)


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.quick("name", IN_PLACE.keys() - {"convnext_tiny", "vgg11"})
def test_even_kernels_look_at_their_place(backbone_of, name):
    assert backbone_of(name).grids((224, 224)).map == (IN_PLACE[name], IN_PLACE[name] / 2)


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.quick("output_stride", [8])
def test_dilation_moves_nothing(output_stride):
    assert create_backbone("resnet18", "none", output_stride).grids((224, 224)).map == (output_stride, 0.5)


@pytest.mark.parametrize("name", ["swin_t", "timm/vit_tiny_patch16_224"])
@pytest.mark.quick("name", ["timm/vit_tiny_patch16_224"])
def test_patches_are_equal_parts(backbone_of, name):
    backbone = backbone_of(name)
    assert backbone.grids((224, 224)).map in (None, (backbone.stride, backbone.stride / 2))


EXACT = {
    "resnet18": (96, 800),
    "mobilenet_v2": (96, 800),
    "vgg11": (96, 800),
    "alexnet": (96, 800),
    "squeezenet1_0": (96, 800),
    "tinynet": (96, 800),
    "densenet121": (96, 1600),
    "convnext_tiny": (96, 800),
    "regnet_x_400mf": (96, 800),
    "timm/resnet18d": (96, 800),  # two branches that look at different places: at their mean
    "timm/dla34": (96, 832),
    "timm/ghostnet_050": (96, 800),
    "timm/edgenext_xx_small": (96, 800),
    "timm/poolformer_s12": (96, 800),
    "timm/vit_tiny_patch16_224": (96, 225),
    "timm/vit_small_patch14_dinov2": (96, 225),
    "timm/vit_tiny_r_s16_p8_224": (96, 800),
    "timm/swin_tiny_patch4_window7_224": (224, 224),
}
SMALL = ("resnet18", "tinynet", "timm/vit_tiny_patch16_224")
# Blocks that take the maximum of four cells, or pad nothing: the gradient of equal maxima is all the first one's.
BY_HAND = {"timm/hiera_tiny_224": (32, 14.5), "timm/inception_v3": (32, 37.5), "inception_v3": (32, 37.5)}
# Their padding depends on the image's size.
SAME = ["timm/tf_efficientnet_lite0", "timm/tf_efficientnet_b0", "timm/tf_mobilenetv3_small_minimal_100"]


def expected_and_found(reference, backbone, height, width):
    images = torch.zeros(1, 3, height, width)
    with torch.no_grad(), PositionTracer(images) as tracer:
        features = backbone(images)
    columns = line(plane(tracer.positions(features)).x)
    cell = features.shape[-1] // 2
    found = reference.gradient_centres.centre(backbone, height, width, cell)
    return columns, columns.start + cell * columns.stride, found


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.quick("name", SMALL)
def test_the_gradient_s_centre_is_the_cell_s(reference, backbone_of, name):
    """What a cell depends on, weighed by how much, has its centre of mass where the grid puts the cell."""
    _, expected, found = expected_and_found(reference, backbone_of(name), *EXACT[name])
    assert found == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.quick("name", ["timm/inception_v3"])
def test_maxima_lie_in_the_middle_of_their_windows(backbone_of, name):
    assert backbone_of(name).grids((224, 224)).map == BY_HAND[name]


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("width", [800, 801, 815])
@pytest.mark.quick("name, width", lambda one: "mobilenetv3" in one[0] and one[1] < 815)
def test_of_same_padding_it_depends_on_the_size(reference, backbone_of, name, width):
    backbone = backbone_of(name)
    columns, expected, found = expected_and_found(reference, backbone, 96, width)
    assert found == pytest.approx(expected, abs=0.5)
    grids = backbone.grids((width % 32 + 96, width % 32 + 96))
    assert grids.map == pytest.approx((columns.stride, columns.start))  # what counts is the remainder
    assert len(grids.taps) == 2


@pytest.mark.long
def test_branches_of_a_cell_search_agree_within_a_part_of_a_cell(reference, backbone_of):
    columns, expected, found = expected_and_found(reference, backbone_of("timm/nasnetalarge"), 96, 1216)
    assert abs(found - expected) < columns.stride / 8
    assert columns.start > 20  # not at the half pixel of symmetric padding


@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
@pytest.mark.parametrize("resize", ["warp", "letterbox"])
@pytest.mark.quick("name", ["resnet18"])
def test_a_cropped_map_has_its_peak_over_what_the_cell_saw(backbone_of, name, resize):
    grid = backbone_of(name).grids((320, 320)).map
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
