"""Any layer's output is read as the map it is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsl.cam.layouts import Layout, find_layout, to_map

PATCHES = st.sampled_from([4, 8, 14, 16, 28, 32])
SIDES = st.integers(64, 640)
PREFIXES = st.sampled_from([0, 1, 2, 5])


def stored(maps: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Maps (N, C, h, w) as a network of that layout would hold them."""
    if layout.kind == "nchw":
        return maps
    if layout.kind == "nhwc":
        return maps.permute(0, 2, 3, 1).contiguous()
    tokens = maps.flatten(2).transpose(1, 2)
    return torch.cat([torch.full((len(maps), layout.prefix, maps.shape[1]), -1.0), tokens], 1)


@given(SIDES, PATCHES, PREFIXES, st.booleans())
def test_tokens_of_square_images(side, patch, prefix, up):
    cells = -(-side // patch) if up else side // patch
    found = find_layout((2, cells * cells + prefix, 192), (side, side))
    assert found == Layout("tokens", (cells, cells), prefix) or cells < 5
    assert find_layout((2, cells * cells + prefix, 192), (side, side), prefix=prefix) == found or cells < 5


@given(SIDES, SIDES, PATCHES, PREFIXES)
def test_tokens_of_other_images_have_their_aspect(height, width, patch, prefix):
    size = height // patch, width // patch
    count = size[0] * size[1] + prefix
    assert find_layout((2, count, 8), (height, width), size=size) in (None, Layout("tokens", size, prefix))
    found = find_layout((2, count, 8), (height, width), prefix=prefix)
    assert found is None or found.size == size or abs(found.size[0] - size[0]) + abs(found.size[1] - size[1]) <= 2
    if found is None:
        assert size[0] * size[1] == 1


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(
    ("image", "size"),
    [
        ((224, 224), (14, 14)),
        ((518, 518), (37, 37)),
        ((96, 160), (6, 10)),
        ((96, 160), (6, 11)),  # patch 14
        ((225, 600), (16, 42)),
        ((250, 230), (8, 7)),  # patches of 4 cut off, then halved three times and padded
    ],
)
def test_the_number_of_class_and_register_tokens_is_found(image, size, prefix):
    assert find_layout((1, size[0] * size[1] + prefix, 64), image) == Layout("tokens", size, prefix)


@given(SIDES, SIDES, PATCHES, st.sampled_from(["nchw", "nhwc"]), st.integers(650, 2048))
def test_channels_first_and_last_are_told_apart(height, width, patch, kind, channels):
    size = height // patch, width // patch
    shape = (2, channels, *size) if kind == "nchw" else (2, *size, channels)
    expected = Layout(kind, size) if size != (1, 1) else None
    assert find_layout(shape, (height, width)) == expected


@given(st.integers(1, 64), st.integers(1, 3), SIDES, PATCHES)
def test_a_few_channels_first_are_no_hindrance(channels, batch, side, patch):
    """As many channels as cells read either way: then channels come first."""
    cells = side // patch
    found = find_layout((batch, channels, cells, cells), (side, side))
    assert found == (Layout("nchw", (cells, cells)) if cells > 1 else None)


def test_what_is_known_decides():
    assert find_layout((1, 96, 96, 96), (384, 384)).kind == "nchw"
    assert find_layout((1, 96, 96, 96), (384, 384), kind="nhwc").kind == "nhwc"
    assert find_layout((1, 49, 192), (224, 224), size=(28, 28)) is None
    assert find_layout((1, 49, 192), (224, 224), prefix=1) is None
    assert find_layout((1, 785, 192), (224, 224), size=(28, 28)) == Layout("tokens", (28, 28), 1)
    assert find_layout((1, 212, 192), (224, 224), prefix=16) == Layout("tokens", (14, 14), 16)
    assert find_layout((1, 512, 7, 7), (224, 224), kind="tokens") is None


def test_a_hybrid_s_tokens_are_those_of_its_convolutions():
    assert find_layout((1, 49, 192), (224, 224)) == Layout("tokens", (7, 7))
    assert find_layout((1, 50, 192), (224, 224)) == Layout("tokens", (7, 7), 1)


@pytest.mark.parametrize(
    "shape",
    [(2, 512), (2, 512, 1, 1), (2, 1, 1, 512), (2, 1, 512), (2, 2, 512), (512,), (), (2, 0, 3), (2, 3, 4, 5, 6)],
)
def test_without_spatial_extent_there_is_no_map(shape):
    assert find_layout(shape, (224, 224)) is None


@pytest.mark.parametrize("count", [7, 77, 150, 1000])
def test_tokens_that_do_not_fit_the_image_are_no_map(count):
    assert find_layout((2, count, 512), (224, 224)) is None


@pytest.mark.parametrize(
    "layout", [Layout("nchw", (3, 5)), Layout("nhwc", (3, 5)), Layout("tokens", (3, 5)), Layout("tokens", (3, 5), 5)]
)
def test_a_map_is_a_view_that_gradients_pass(layout):
    maps = torch.randn(2, 4, 3, 5)
    output = stored(maps, layout).requires_grad_()
    assert output.shape[layout.channel_axis] == 4
    found = to_map(output, layout)
    assert torch.equal(found, maps)
    assert found.untyped_storage().data_ptr() == output.untyped_storage().data_ptr()
    stack = torch.stack([output, 2 * output])
    assert torch.equal(to_map(stack, layout), torch.stack([maps, 2 * maps]))
    weight = torch.randn_like(maps)
    (gradient,) = torch.autograd.grad((found * weight).sum(), output)
    assert torch.equal(to_map(gradient, layout), weight)
    assert gradient.sum() == pytest.approx(float(weight.sum()), abs=1e-4)
