"""How the poolings relate, and the values that were published for them."""

import pytest
import torch

from heads.pooling import (
    GAP,
    GMP,
    LSE,
    PCAM,
    WELDON,
    WILDCAT,
    Add,
    KMax,
    Median,
    Mixed,
    SoftPool,
    add,
    csra,
    exp,
    gap,
    gem,
    gmp,
    kmax,
    linear,
    lse,
    median,
    mixed,
    pcam,
    softpool,
    stochastic,
    weldon,
    wildcat,
)

# The example map of the Torch7 package: two 2s, two -1s, zeros.
EXAMPLE = torch.tensor([[[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 2.0]]])

SHIFTED = [
    *(GMP(), GAP(), KMax(0.2), LSE(4), WELDON(0.2), WILDCAT(0.2, alpha=1)),
    *(Mixed(0.3), Add(), SoftPool(2), Median()),
]


@pytest.fixture
def maps():
    return torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_weldon_of_ones_is_two_and_without_minima_one():
    ones = torch.ones(10, 5, 10, 10)
    assert torch.equal(WELDON()(ones), torch.full((10, 5), 2.0))
    assert torch.equal(WELDON(k_min=0)(ones), torch.full((10, 5), 1.0))


@pytest.mark.parametrize(
    ("k_max", "k_min", "score"),
    [(1, 1, 1), (2 / 9, 1 / 9, 1), (3 / 9, 1 / 9, 1 / 3), (3 / 9, 3 / 9, 2 / 3), (5 / 9, 5 / 9, 2 / 5)],
)
def test_weldon_of_the_published_example(k_max, k_min, score):
    close(weldon(EXAMPLE, k_max, k_min), torch.tensor([score], dtype=torch.float32), 1e-6)


def test_kmax_of_one_is_gmp_and_of_all_is_gap(maps):
    assert torch.equal(kmax(maps, 1), gmp(maps))
    for everything in (42, 1000, "all", 0, -3):
        close(kmax(maps, everything), gap(maps))


def test_kmax_of_all_but_one_leaves_the_minimum_out(maps):
    close(kmax(maps, 41 / 42) * 41 + maps.amin((-2, -1)), gap(maps) * 42)


def test_lse_runs_from_gap_to_gmp(maps):
    assert torch.equal(lse(maps, 0), gap(maps))
    assert torch.equal(lse(maps, float("inf")), gmp(maps))
    close(lse(maps, 1e-9), gap(maps), 1e-7)
    close(lse(maps, 1e9), gmp(maps), 1e-7)
    sharper = torch.stack([lse(maps, beta) for beta in (0, 1e-13, 1e-11, 0.1, 1, 10, 1e3, 1e29, 1e31)])
    assert (sharper.diff(dim=0) >= 0).all()


def test_weldon_is_the_sum_or_mean_of_kmax_of_the_maps_and_their_negative(maps):
    close(weldon(maps, 5, 3), kmax(maps, 5) - kmax(-maps, 3))
    close(weldon(maps, 5, 3, reduction="mean"), (kmax(maps, 5) - kmax(-maps, 3)) / 2)
    close(weldon(maps, 0.2), weldon(maps, 0.2, 0.2))
    close(weldon(maps, "all"), 2 * gap(maps))


@pytest.mark.parametrize("none", [0, -1, 0.0, -0.5])
def test_without_minima_weldon_and_wildcat_are_kmax(maps, none):
    assert torch.equal(weldon(maps, 5, none), kmax(maps, 5))
    assert torch.equal(weldon(maps, 5, none, reduction="mean"), kmax(maps, 5))
    assert torch.equal(wildcat(maps, 5, none, alpha=0.7), kmax(maps, 5))


def test_wildcat_without_alpha_is_kmax_and_with_alpha_one_mean_weldon(maps):
    for zero in (0, 0.0):
        assert torch.equal(wildcat(maps, 0.2, 0.2, alpha=zero), kmax(maps, 0.2))
    close(wildcat(maps, 0.2, 0.1, alpha=1), weldon(maps, 0.2, 0.1, reduction="mean"))
    close(wildcat(maps, 5, 3, alpha=0.7), (kmax(maps, 5) - 0.7 * kmax(-maps, 3)) / 2)


@pytest.mark.parametrize(
    "pooling",
    SHIFTED,
)
def test_adding_a_constant_to_a_map_adds_it_to_the_score(pooling, maps):
    added = 2 if isinstance(pooling, WELDON) else 1
    close(pooling(maps + 3), pooling(maps) + 3 * added)


def test_gradients_go_to_the_selected_locations_with_their_weights():
    ramp = torch.arange(12.0).reshape(1, 3, 4).requires_grad_()
    wildcat(ramp, k_max=4, k_min=2, alpha=0.5).backward()
    expected = [0.5 * 0.5 / 2] * 2 + [0.0] * 6 + [0.5 / 4] * 4
    assert ramp.grad.flatten().tolist() == expected


@pytest.mark.parametrize("pool", [gmp, lambda maps: kmax(maps, 1), lambda maps: weldon(maps, 1, 0)])
def test_of_tied_maxima_one_location_gets_the_whole_gradient(pool):
    flat = torch.zeros(1, 3, 4, requires_grad=True)
    pool(flat).backward()
    assert sorted(flat.grad.flatten().tolist()) == [0.0] * 11 + [1.0]


def test_of_tied_values_k_locations_share_the_gradient():
    flat = torch.zeros(1, 3, 4, requires_grad=True)
    kmax(flat, 5).backward()
    torch.testing.assert_close(flat.grad.flatten().sort().values, torch.tensor([0.0] * 7 + [0.2] * 5))


def test_mixed_runs_from_gap_to_gmp(maps):
    close(mixed(maps, 0), gap(maps))
    close(mixed(maps, 1), gmp(maps))
    close(mixed(maps, 0.5), add(maps))
    close(add(maps), (gap(maps) + gmp(maps)) / 2)


def test_softpool_runs_from_gap_to_gmp(maps):
    assert torch.equal(softpool(maps, 0), gap(maps))
    assert torch.equal(softpool(maps, float("inf")), gmp(maps))
    close(softpool(maps, 1e-9), gap(maps), 1e-7)
    close(softpool(maps, 1e9), gmp(maps), 1e-7)
    sharper = torch.stack([softpool(maps, beta) for beta in (0, 1e-13, 1e-11, 0.1, 1, 10, 1e3, 1e29, 1e31)])
    assert (sharper.diff(dim=0) >= -1e-12).all()


def test_softpool_of_a_constant_is_the_constant_and_exceeds_lse():
    close(softpool(torch.full((2, 4, 4), -3.5, dtype=torch.float64), 7), torch.full((2,), -3.5, dtype=torch.float64))
    spread = torch.randn(2, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert (softpool(spread) > lse(spread)).all()  # the mean of a softmax lies above its free energy


def test_gem_runs_from_gap_to_gmp(maps):
    maps = maps.abs() + 0.1
    close(gem(maps, 1), gap(maps))
    close(gem(maps, float("inf")), gmp(maps))
    close(gem(maps, 1e7), gmp(maps), 1e-5)
    close(gem(maps, 2), maps.square().mean((-2, -1)).sqrt())
    close(gem(maps, 3), maps.pow(3).mean((-2, -1)).pow(1 / 3))
    close(gem(5 * maps, 3), 5 * gem(maps, 3))
    close(gem(-maps, 3), torch.full((2, 3), 1e-6, dtype=torch.float64))


def test_of_probabilities_gem_linear_and_exp_are_logits_of_what_they_pool(maps):
    p = maps.sigmoid()
    for pooled, score in (
        (gap(p), gem(maps, 1, of="probabilities")),
        (gem(p, 3), gem(maps, 3, of="probabilities")),
        (linear(p, of="values"), linear(maps)),
        (softpool(p), exp(maps, of="probabilities")),
    ):
        close(score.sigmoid(), pooled)
    assert torch.equal(gem(maps, float("inf"), of="probabilities"), gmp(maps))


@pytest.mark.parametrize("height", [-500.0, -50.0, 50.0, 500.0])
@pytest.mark.parametrize("p", [0.5, 3.0, 200.0])
def test_probabilities_next_to_zero_and_one_keep_their_logits(height, p):
    level = torch.full((1, 3, 4), height)
    torch.testing.assert_close(gem(level, p, of="probabilities"), torch.tensor([height]), rtol=1e-5, atol=0)
    for pool in (linear, pcam, lambda maps: exp(maps, of="probabilities")):
        torch.testing.assert_close(pool(level), torch.tensor([height]), rtol=1e-5, atol=0)


def test_stochastic_expects_the_linear_mean_and_by_softmax_softpool(maps):
    close(stochastic(maps.abs()), linear(maps.abs(), of="values"))
    close(stochastic(maps, probability="softmax"), softpool(maps))
    assert torch.equal(exp(maps), softpool(maps))


def test_median_is_the_middle():
    assert median(EXAMPLE).item() == 0
    assert median(torch.tensor([[[5.0, 1.0, 2.0]]])).item() == 2
    assert median(torch.tensor([[[5.0, 1.0], [2.0, 4.0]]])).item() == 3
    largest = torch.finfo(torch.float16).max
    assert median(torch.full((1, 2, 2), largest, dtype=torch.float16)).item() == largest


def test_pcam_weighs_features_before_the_same_classifier():
    """As the paper has it: pooled features, then the linear classifier that made the map."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 8, 7, 6, generator=generator, dtype=torch.float64)
    weight, bias = torch.randn(8, generator=generator, dtype=torch.float64), 0.3
    logits = torch.einsum("d,ndhw->nhw", weight, features) + bias
    share = logits.sigmoid() / logits.sigmoid().sum((-2, -1), keepdim=True)
    pooled = (features * share[:, None]).sum((-2, -1))
    close(PCAM()(logits[:, None])[:, 0], pooled @ weight + bias)


def test_without_attention_csra_is_gap_and_at_99_gap_plus_gmp(maps):
    close(csra(maps, lam=0), gap(maps))
    close(csra(maps, (99,), 0.2), gap(maps) + 0.2 * gmp(maps))
    close(csra(maps, (float("inf"),), 0.2), csra(maps, (99,), 0.2))
    close(csra(maps, (0,), 0.2), 1.2 * gap(maps))
