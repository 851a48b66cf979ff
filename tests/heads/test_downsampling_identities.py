"""What the windowed poolings are to each other, to torch's layers, and to libraries from elsewhere."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from heads.downsampling import (
    AdaPool2d,
    AvgPool2d,
    MaxPool2d,
    MixedPool2d,
    PowerPool2d,
    SoftPool2d,
    adapool2d,
    avgpool2d,
    maxpool2d,
    medianpool2d,
    mixedpool2d,
    powerpool2d,
    softpool1d,
    softpool2d,
    softpool3d,
    stochasticpool2d,
)
from heads.downsampling._window import Window

WINDOWS = [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 3, "stride": 1}]


def random_maps(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape or (2, 3, 8, 7), dtype=dtype, generator=torch.Generator().manual_seed(seed))


def close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("window", WINDOWS)
def test_between_average_and_maximum(window):
    maps = random_maps()
    average = F.avg_pool2d(maps, **window, count_include_pad=False)
    highest = F.max_pool2d(maps, **window)
    positive = maps.abs() + 0.1
    mean_of_positive = F.avg_pool2d(positive, **window, count_include_pad=False)
    close(mixedpool2d(maps, **window, lam=0.0), average)
    close(mixedpool2d(maps, **window, lam=1.0), highest)
    close(avgpool2d(maps, **window), average)
    close(maxpool2d(maps, **window), highest)
    close(powerpool2d(positive, **window, p=1), mean_of_positive)
    close(powerpool2d(positive, **window, p=math.inf), F.max_pool2d(positive, **window))
    close(powerpool2d(positive, **window, p=1e5), F.max_pool2d(positive, **window), 1e-4)
    close(softpool2d(1e-9 * maps, **window) / 1e-9, average, 1e-7)  # the flatter, the more a plain mean
    close(softpool2d(1e3 * maps, **window) / 1e3, highest, 1e-2)
    assert (softpool2d(maps, **window) >= average).all()
    assert (softpool2d(maps, **window) <= highest).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_padding_that_counts_is_zeros_that_count(window):
    maps = random_maps()
    zeros = F.pad(maps, [window.get("padding", 0)] * 4)
    bare = {**window, "padding": 0}
    for pool in (softpool2d, adapool2d, avgpool2d):
        close(pool(maps, **window, count_include_pad=True), pool(zeros, **bare))
    positive = F.pad(maps.abs(), [window.get("padding", 0)] * 4)
    close(powerpool2d(maps.abs(), **window, count_include_pad=True), powerpool2d(positive, **bare))
    close(
        mixedpool2d(maps, **window, lam=0.25, count_include_pad=True),
        0.25 * F.max_pool2d(maps, **window) + 0.75 * F.avg_pool2d(maps, **window),
    )


def test_softpool_is_the_softmax_times_the_values():
    maps = random_maps(2, 3, 6, 8)
    values = maps.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
    close(softpool2d(maps, 2), (values.softmax(-1) * values).sum(-1))


def test_softpool_of_one_dimension_is_that_of_two_and_of_three():
    maps = random_maps(2, 3, 9)
    flat = softpool1d(maps, 3, stride=2, padding=1)
    close(softpool2d(maps[..., None], (3, 1), stride=(2, 1), padding=(1, 0))[..., 0], flat)
    volume = maps[:, :, None, :, None]
    close(softpool3d(volume, (1, 3, 1), stride=(1, 2, 1), padding=(0, 1, 0))[:, :, 0, :, 0], flat)


def test_softpool_keeps_signs_and_channels_apart():
    maps = random_maps() - 5
    assert (softpool2d(maps, 2) < 0).all()
    alone = torch.cat([softpool2d(maps[:, index : index + 1], 2) for index in range(3)], dim=1)
    close(softpool2d(maps, 2), alone)


def test_softpool_is_signed_and_its_gradient_passes_through_the_weights():
    window = torch.tensor([[[-1.0, -2.0]]], dtype=torch.float64, requires_grad=True)
    pooled = softpool2d(window, (1, 2))
    low, high = math.exp(-2), math.exp(-1)
    assert pooled.item() == pytest.approx((-1 * high - 2 * low) / (high + low))
    pooled.sum().backward()
    weights = torch.tensor([[[high, low]]], dtype=torch.float64) / (high + low)
    close(window.grad, weights * (1 + window.detach() - pooled.detach()))  # the authors' kernel gives the weights alone


def test_softpool_has_the_windows_of_torchs_poolings():
    maps = random_maps(1, 2, 7, 7)
    assert softpool2d(maps, 3, 1).shape == F.avg_pool2d(maps, 3, 1).shape == (1, 2, 5, 5)


@pytest.mark.parametrize("constant", [0.1, -3.3, 1e4, 88.8, -1e4])
def test_softpool_of_a_constant_is_the_constant(constant):
    maps = torch.full((2, 3, 7, 7), constant)
    assert torch.equal(softpool2d(maps, 3, stride=2, padding=1), maps[..., ::2, ::2])


def test_the_median_is_that_of_scipy():
    maps = random_maps(1, 1, 9, 8)
    filtered = torch.from_numpy(ndimage.median_filter(maps[0, 0].numpy(), size=3))
    close(medianpool2d(maps, 3, stride=1)[0, 0], filtered[1:-1, 1:-1])


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_power_average_is_torchs_lp_pool_but_for_the_mean(p):
    maps = random_maps().abs() + 0.01
    close(powerpool2d(maps, (3, 2), p=p) * 6 ** (1 / p), F.lp_pool2d(maps, p, (3, 2)), 1e-10)


def test_adapool_is_softpool_at_one_end():
    maps = random_maps()
    close(adapool2d(maps, 3, 2, beta=0.0), softpool2d(maps, 3, 2))
    constant = torch.full((1, 4, 4), -2.5)
    close(adapool2d(constant, 2), constant[..., ::2, ::2])


def test_the_likeness_of_adapool_has_no_unit():
    maps = random_maps()
    likely = adapool2d(maps, 2, beta=1.0)
    for factor in (1e-30, 1e30, -1.0):
        close(adapool2d(factor * maps, 2, beta=1.0) / factor, likely)


def test_the_likeness_of_adapool_is_signed():
    window = torch.tensor([[[3.0, -1.0]]], dtype=torch.float64)  # of mean 1
    alike, opposite = math.exp(2 * 3 / (9 + 1)), math.exp(2 * -1 / (1 + 1))
    found = adapool2d(window, (1, 2), beta=1.0).item()
    assert found == pytest.approx((3 * alike - opposite) / (alike + opposite))
    unsigned = math.exp(1)  # the authors' kernel: 2 |x m| / (x^2 + m^2)
    assert found > (3 * alike - unsigned) / (alike + unsigned) + 0.1


def test_the_likeness_of_two_zeros_is_zero():
    window = torch.tensor([[[1.0, 0.0, -1.0]]], dtype=torch.float64)  # of mean 0, so that all are as unlike it
    assert adapool2d(window, (1, 3), beta=1.0).item() == pytest.approx(0)
    close(adapool2d(window, (1, 3), beta=0.5), 0.5 * softpool2d(window, (1, 3)))


def test_learnt_weights_start_where_told_and_stay_in_range():
    maps = random_maps().abs().float()
    for module, low, high, read in (
        (MixedPool2d(2, lam=0.25, mode="learned"), 0, 1, "weight"),
        (AdaPool2d(2, beta=0.25), 0, 1, "weight"),
        (PowerPool2d(2, p=4, learnable=True), 0, math.inf, "exponent"),
    ):
        start = 4 if read == "exponent" else 0.25
        assert getattr(module, read) == pytest.approx(start)
        optimizer = torch.optim.SGD(module.parameters(), lr=50.0)
        for _ in range(30):
            optimizer.zero_grad()
            module(maps).sum().backward()
            optimizer.step()
        assert low <= getattr(module, read) <= high
        assert getattr(module, read) != pytest.approx(start)
        assert module(maps).isfinite().all()


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((8, 8), {"kernel_size": 2}),
        ((9, 7), {"kernel_size": 3, "stride": 2, "padding": 1}),
        ((7, 8), {"kernel_size": 2}),
    ],
)
def test_unpooling_puts_the_maxima_back_in_place(size, window):
    """torch's own layers do this, windows that overlap and sizes that division loses included."""
    maps = random_maps(2, 3, *size).abs() + 0.1
    values, places = nn.MaxPool2d(**window, return_indices=True)(maps)
    back = nn.MaxUnpool2d(**window)(values, places, output_size=maps.shape)
    assert back.shape == maps.shape
    kept = back != 0
    assert torch.equal(back[kept], maps[kept])
    assert torch.equal(maxpool2d(back, **window), values)


@settings(max_examples=60)
@given(
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ceil_mode=st.booleans(),
)
def test_any_window_lies_where_torch_has_it(sizes, kernel, stride, dilation, padding, ceil_mode):
    """A SoftPool so sharp that it is a maximum has the maxima of torch's layer, gradients included."""
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    maps = torch.randperm(2 * sizes[0] * sizes[1], generator=torch.Generator().manual_seed(0)).double()
    maps = (50 * maps).reshape(2, *sizes)
    try:
        Window.of(2, kernel, stride, padding, dilation, ceil_mode).check(maps)
    except ValueError:
        return
    sharp, twin = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    found, expected = softpool2d(sharp, kernel, **settings), F.max_pool2d(twin, kernel, **settings)
    close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    close(sharp.grad, twin.grad, 1e-9)
    flat = softpool2d(1e-9 * maps, kernel, **settings)
    close(flat / 1e-9, avgpool2d(maps, kernel, **settings), 1e-3)


def test_expected_draws_are_softpool_or_shares():
    maps = random_maps()
    close(stochasticpool2d(maps, 3, 2, 1, probability="softmax"), softpool2d(maps, 3, 2, 1))
    squares = maps.abs().square()
    expected = F.avg_pool2d(squares, 2) / F.avg_pool2d(maps.abs(), 2)
    close(stochasticpool2d(maps.abs(), 2), expected)


def test_a_network_with_them_learns():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(32, 1, 12, 12, generator=generator)
    labels = (images[:, 0, :6].mean((1, 2)) > images[:, 0, 6:].mean((1, 2))).long()
    for pool in (SoftPool2d(3, 2, 1), AdaPool2d(2), MaxPool2d(2), AvgPool2d(2), PowerPool2d(2, learnable=True)):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), pool, nn.Flatten(), nn.Linear(288, 2))
        optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
        losses = []
        for _ in range(40):
            loss = F.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.3 * losses[0]
