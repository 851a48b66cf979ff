"""SoftPool block by block is the same function as its definition, whatever the blocks and the values."""

import math

import pytest
import torch

from heads.downsampling import softpool2d
from heads.downsampling._window import Window
from heads.downsampling.softpool import defined_softpool
from heads.kernels import cpu_blocks, dispatch


def random_maps(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


def with_gradient(pool, maps):
    leaf = maps.detach().requires_grad_()
    result = pool(leaf)
    weights = torch.randn(result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (result * weights.to(result.dtype)).sum().backward()
    return result.detach(), leaf.grad


@pytest.mark.parametrize("block", [1, 100, 300, 1 << 17])
@pytest.mark.parametrize("scale", [1.0, 500.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blocks_of_any_size(monkeypatch, block, scale, layout):
    monkeypatch.setattr(cpu_blocks, "BLOCK", block)
    maps = random_maps(5, 3, 9, 10, dtype=torch.float64)
    maps[2:4] *= scale
    maps = maps.to(memory_format=layout)
    window = Window.of(2, 3, 2, 1)
    found = with_gradient(lambda leaf: softpool2d(leaf, 3, 2, 1), maps)
    expected = with_gradient(lambda leaf: defined_softpool(leaf, window), maps)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("offset", [0.0, 20.0, -1e3, 1e4])
def test_single_precision_is_accurate_wherever_the_values_lie(offset):
    maps = (random_maps(4, 8, 20, 20) + offset).detach()
    found = with_gradient(lambda leaf: softpool2d(leaf, 3, 2, 1), maps)
    exact = with_gradient(lambda leaf: softpool2d(leaf, 3, 2, 1), maps.double())
    for one, other, unit in zip(found, exact, (max(1, abs(offset)), 1), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=2e-6 * unit)


def test_values_far_apart_stay_accurate():
    for spread in (29.0, 31.0, 300.0):
        maps = torch.where(random_maps(2, 4, 16, 16) > 0, spread, -spread) + random_maps(2, 4, 16, 16)
        found = with_gradient(lambda leaf: softpool2d(leaf, 2), maps)
        exact = with_gradient(lambda leaf: softpool2d(leaf, 2), maps.double())
        for one, other in zip(found, exact, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_where_plain_exponentials_overflow_it_does_not():
    maps = torch.tensor([[[100.0, 0.0], [0.0, 99.0]]])
    expected = 100 - 1 / (1 + math.e)
    assert softpool2d(maps, 2).item() == pytest.approx(expected, rel=1e-6)


def test_not_a_number_stays_in_its_window():
    maps = random_maps(1, 2, 6, 6)
    maps[0, 0, 0, 0] = math.nan
    result = softpool2d(maps, 2)
    assert result[0, 0, 0, 0].isnan()
    assert result.isnan().sum() == 1


def test_nothing_but_the_maps_is_kept_for_the_gradient():
    kept = []
    maps = random_maps(2, 3, 8, 8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        softpool2d(maps, 2)
    assert [tensor.data_ptr() for tensor in kept] == [maps.data_ptr()]


def test_vmap_over_another_dimension():
    maps = random_maps(2, 3, 8, 8)
    moved = torch.func.vmap(lambda image: softpool2d(image, 2), in_dims=1)(maps.movedim(0, 1))
    torch.testing.assert_close(moved, softpool2d(maps, 2))


def test_the_function_takes_any_leading_dimensions():
    maps = random_maps(2, 2, 3, 8, 8)
    result = dispatch("window_softpool", defined_softpool, maps, Window.of(2, 2))
    torch.testing.assert_close(result, softpool2d(maps.flatten(0, 1), 2).unflatten(0, (2, 2)))
