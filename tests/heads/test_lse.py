"""Log-sum-exp pooling: stability, its sharpness as a setting and as a parameter."""

import math

import pytest
import torch

from heads.pooling import LSE, gap, lse


def random_maps(dtype=torch.float32):
    return torch.randn(2, 3, 7, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))


def test_it_is_torchs_logsumexp():
    maps = random_maps(torch.float64)
    expected = (torch.logsumexp(4 * maps, dim=(-2, -1)) - math.log(42)) / 4
    torch.testing.assert_close(lse(maps, 4), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("beta", [1e-11, 1e-6, 1e-3, 0.1, 1.0, 10.0, 1e6, 1e29])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_single_precision_is_accurate_for_any_sharpness(beta, scale):
    maps = (scale * random_maps()).requires_grad_()
    twin = maps.detach().double().requires_grad_()
    scores, expected = lse(maps, beta), lse(twin, beta)
    scores.sum().backward()
    expected.sum().backward()
    # Above 1 the plain expression rounds the mean of exponentials, to a ten-millionth of 1 / beta.
    rounding = 2e-7 / beta if beta > 1 else 0
    torch.testing.assert_close(scores.double(), expected, rtol=3e-6, atol=max(3e-6 * scale, rounding))
    torch.testing.assert_close(maps.grad.double(), twin.grad, rtol=1e-2 if scale * beta > 1e3 else 1e-4, atol=1e-6)


def test_the_gradient_is_the_softmax_of_the_sharpened_map():
    maps = random_maps(torch.float64).requires_grad_()
    lse(maps, 4).sum().backward()
    torch.testing.assert_close(maps.grad.flatten(-2), (4 * maps.detach().flatten(-2)).softmax(-1))


@pytest.mark.parametrize("beta", [1e-3, 0.5, 4.0])
def test_the_gradient_of_the_sharpness_is_the_derivative(beta):
    maps = random_maps(torch.float64).requires_grad_()
    sharpness = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lse, (maps, sharpness), eps=1e-6 * beta)


def test_the_learnt_sharpness_starts_where_told_and_stays_positive():
    pool = LSE(beta=0.5, learnable=True)
    assert [name for name, _ in pool.named_parameters()] == ["log_beta"]
    assert pool.log_beta.item() == pytest.approx(math.log(0.5))
    maps = random_maps()
    torch.testing.assert_close(pool(maps), lse(maps, 0.5))
    optimizer = torch.optim.SGD(pool.parameters(), lr=1.0)
    before = pool(maps).mean().item()
    for _ in range(50):  # towards the mean, whose sharpness is 0
        optimizer.zero_grad()
        pool(maps).mean().backward()
        optimizer.step()
    assert 0 < pool.sharpness < 0.5
    assert gap(maps).mean().item() < pool(maps).mean().item() < before


@pytest.mark.parametrize("log_beta", [-1e4, -90.0, 90.0, 1e4])
def test_a_sharpness_that_ran_away_gives_the_limits_not_nan(log_beta):
    pool = LSE(learnable=True)
    torch.nn.init.constant_(pool.log_beta, log_beta)
    maps = random_maps().requires_grad_()
    scores = pool(maps)
    scores.sum().backward()
    torch.testing.assert_close(scores, lse(maps, 0 if log_beta < 0 else math.inf))
    assert maps.grad.isfinite().all()
    assert pool.log_beta.grad.isfinite()


def test_a_half_precision_module_keeps_its_sharpness():
    pool = LSE(beta=10, learnable=True).to(torch.bfloat16)
    maps = random_maps(torch.bfloat16)
    assert pool(maps).dtype == torch.bfloat16
    assert pool.sharpness == pytest.approx(10, rel=0.01)


def test_a_fixed_sharpness_is_no_state():
    assert not LSE(beta=4).state_dict()


@pytest.mark.parametrize("beta", [-1.0, -math.inf, math.nan, 10**400])
def test_a_sharpness_without_meaning_is_refused(beta):
    for make in (LSE, lambda beta: lse(torch.ones(1, 2, 2), beta)):
        with pytest.raises(ValueError, match=r"beta is .*, expected"):
            make(beta)


def test_a_sharpness_of_another_kind_is_refused():
    for beta in (True, "4", None):
        with pytest.raises(TypeError, match=r"beta is .*, expected a number"):
            LSE(beta)
    for beta in (torch.ones(2), torch.ones(1, 3), torch.tensor(4)):
        with pytest.raises(ValueError, match=r"beta has shape .*, expected a floating point scalar"):
            lse(torch.ones(3, 2, 2), beta)
    with pytest.raises(TypeError, match="learnable is 1, expected True or False"):
        LSE(learnable=1)


@pytest.mark.parametrize("beta", [0, math.inf])
def test_a_limit_cannot_be_learnt_from(beta):
    with pytest.raises(ValueError, match="a limit that cannot be learnt from: start at beta=1"):
        LSE(beta, learnable=True)
