"""Poolings that give several numbers a map, and how a head makes one score of them."""

import copy

import pytest
import torch

import heads
from heads import MapClassifier
from heads.pooling import Adaptive, Cat, adaptive, cat, gap, gmp
from heads.readout import Readout


def random_maps(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_cat_gives_the_averages_and_then_the_maxima(reference):
    maps = random_maps(2, 3, 7, 6)
    found = cat(maps)
    torch.testing.assert_close(found, torch.cat([gap(maps), gmp(maps)], -1))
    expected = [[reference.poolings.cat(plane.flatten().tolist()) for plane in image] for image in maps]
    torch.testing.assert_close(Cat().values(maps), maps.new_tensor(expected))
    torch.testing.assert_close(Cat()(maps).unflatten(-1, (2, 3)).transpose(-1, -2), Cat().values(maps))
    assert Cat()(maps[0]).shape == (6,)
    assert cat(maps[:0]).shape == (0, 6)


@pytest.mark.parametrize(
    ("size", "grid"),
    [(1, (1, 1)), (2, (2, 2)), ((2, 3), (2, 3)), ((None, 2), (7, 2)), (None, (7, 6)), ((9, 1), (9, 1))],
)
@pytest.mark.parametrize("mode", ["average", "max"])
def test_adaptive_gives_a_grid_of_the_size_asked_for(size, grid, mode):
    maps = random_maps(2, 3, 7, 6)
    found = adaptive(maps, size, mode=mode)
    assert found.shape == (2, 3, *grid)
    pool = torch.Tensor.mean if mode == "average" else torch.amax
    for i in range(grid[0]):
        for j in range(grid[1]):
            rows = slice(i * 7 // grid[0], -(-(i + 1) * 7 // grid[0]))
            columns = slice(j * 6 // grid[1], -(-(j + 1) * 6 // grid[1]))
            torch.testing.assert_close(found[..., i, j], pool(maps[..., rows, columns], (-2, -1)))
    assert torch.equal(Adaptive(size, mode=mode)(maps), found)


def test_one_cell_is_gap_or_gmp():
    maps = random_maps(2, 3, 7, 6)
    torch.testing.assert_close(adaptive(maps)[..., 0, 0], gap(maps))
    assert torch.equal(adaptive(maps, mode="max")[..., 0, 0], gmp(maps))


@pytest.mark.parametrize("pooling", [Cat(), Adaptive(2), Adaptive((3, 1), mode="max")])
def test_they_keep_dtypes_layouts_and_derivatives(pooling):
    maps = random_maps(2, 3, 7, 6)
    torch.testing.assert_close(pooling(maps.to(memory_format=torch.channels_last)), pooling(maps))
    assert torch.autograd.gradcheck(pooling, (maps.clone().requires_grad_(),))
    for dtype in (torch.float16, torch.bfloat16):
        half = maps.to(dtype)
        assert pooling(half).dtype == dtype
        torch.testing.assert_close(
            pooling(half).double(), pooling(half.double()), rtol=torch.finfo(dtype).eps, atol=1e-3
        )
    for extreme in (1e4 * maps.sign(), torch.full_like(maps, -1e4)):
        assert pooling(extreme.half()).isfinite().all()
    assert pooling(maps[:0]).shape[0] == 0
    assert repr(heads.create_pooling(repr(pooling))) == repr(pooling) == repr(copy.deepcopy(pooling))


def test_their_weights_are_a_map_for_each_number_or_of_the_grids_mean():
    maps = random_maps(2, 3, 7, 6)
    weights = Cat().weights(maps)
    assert weights.shape == (2, 6, 7, 6)
    torch.testing.assert_close((weights * torch.cat([maps, maps], 1)).sum((-2, -1)), cat(maps))
    for size in (1, 2, (3, 4), (None, 2), (9, 1)):
        for mode in ("average", "max"):
            grid, leaf = Adaptive(size, mode=mode), maps.clone().requires_grad_()
            grid(leaf).mean((-2, -1)).sum().backward()
            torch.testing.assert_close(grid.weights(maps), leaf.grad)


@pytest.mark.parametrize(("spec", "start"), [("cat", "add"), ("adaptive", "gap"), ("adaptive(size=(7, 6))", "gap")])
def test_a_head_begins_with_the_mean_of_a_classs_numbers(spec, start):
    head, features = MapClassifier(8, 5, pooling=spec), random_maps(2, 8, 7, 6, dtype=torch.float32)
    scores, maps = head(features)
    assert scores.shape == (2, 5)
    torch.testing.assert_close(scores, heads.create_pooling(start)(maps))


def test_each_class_learns_its_own_mixture():
    head, features = MapClassifier(8, 2, pooling="cat"), random_maps(2, 8, 7, 6, dtype=torch.float32)
    with torch.no_grad():
        head.readout.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    scores, maps = head(features)
    torch.testing.assert_close(scores[:, 0], gap(maps)[:, 0])
    torch.testing.assert_close(scores[:, 1], 2 * gmp(maps)[:, 1])
    scores.sum().backward()
    assert head.readout.weight.grad.abs().min() > 0
    assert list(head.state_dict()) == ["conv.weight", "conv.bias", "readout.weight"]


def test_a_grid_that_depends_on_the_image_fits_no_head():
    with pytest.raises(ValueError, match=r"a number of values that depends on the image.* use adaptive\(size=2\)"):
        MapClassifier(8, 5, pooling="adaptive(size=(None, 2))")


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (0, ValueError, "size is 0, expected 1 or more"),
        ((2, -1), ValueError, "size is -1, expected 1 or more"),
        ((1, 2, 3), ValueError, r"size is \(1, 2, 3\), expected \(height, width\) or one number"),
        (2.5, TypeError, "size is 2.5, expected an integer"),
        (True, TypeError, "size is True, expected an integer"),
    ],
)
def test_impossible_sizes_are_refused(size, error, message):
    for make in (Adaptive, lambda size: adaptive(torch.ones(1, 2, 2), size)):
        with pytest.raises(error, match=message):
            make(size)


def test_other_words_and_maps_are_refused():
    with pytest.raises(ValueError, match="mode is 'min', expected 'average' or 'max'"):
        Adaptive(mode="min")
    for pool in (Cat(), Adaptive()):
        with pytest.raises(ValueError, match=r"maps have shape \(7, 7\)"):
            pool(torch.ones(7, 7))
        with pytest.raises(TypeError, match=r"maps are torch.bool"):
            pool.weights(torch.ones(1, 7, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="values_per_class is 0, expected 1 or more"):
        Readout(3, 0)
