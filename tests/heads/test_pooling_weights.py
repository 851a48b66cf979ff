"""Where a score came from: the weights of its locations."""

import pytest
import torch

import heads
from heads.pooling import Pooling

# Piecewise linear in the map, and the two that say that theirs is the gradient too.
GRADIENTS = [
    "gmp",
    "gap",
    "kmax",
    "kmax(k=5)",
    "kmax(k=0.3, rounding=round)",
    "kmax(k=all)",
    "weldon",
    "weldon(k_max=0.2, k_min=3)",
    "weldon(k_max=4, k_min=0)",
    "weldon(k_max=0.2, k_min=all, reduction=mean)",
    "wildcat(k_max=0.2, k_min=0.2, alpha=0.7)",
    "wildcat(k_max=0.2, alpha=0)",
    "gndp",
    "add",
    "mixed(lam=0.3)",
    "mixed(lam=0.3, mode=learned)",
    "mixed(lam=0.3, mode=random)",
    "median",
    "csra(heads=(99,), lam=0.3)",
    "lse(beta=0)",
    "lse(beta=4)",
    "lse(beta=inf)",
    "lse(beta=4, learnable=True, classes=3)",
    "softpool(beta=0)",
    "softpool(beta=inf)",
    "gem(p=2.5)",
    "gem(p=0.5)",
    "gem(p=2.5, of=probabilities)",
    "gem(p=2.5, learnable=True, classes=3)",
    "gem(p=2.5, learnable=True, classes=3, of=probabilities)",
    "gem(p=inf)",
    "gem(p=inf, of=probabilities)",
]

# The score is the weighted sum of the map.
SHARES = [
    "gmp",
    "gap",
    "kmax(k=5)",
    "weldon(k_max=0.2, k_min=3)",
    "wildcat(k_max=0.2, alpha=0.7)",
    "mixed(lam=0.3)",
    "gem(p=2.5)",
    "softpool",
    "softpool(beta=0.3)",
    "stochastic",
    "stochastic(probability=softmax)",
    "median",
    "attention(hidden=4, channels=3)",
    "csra(heads=4, lam=0.5)",
    "pcam",
    "exp",
    "linear(of=values)",
]


def random_maps(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", GRADIENTS)
@pytest.mark.parametrize("ties", [False, True])
def test_the_weights_are_the_gradient_of_the_score(spec, ties):
    pooling = heads.create_pooling(spec).eval()
    maps = random_maps(2, 3, 7, 6)
    maps = maps.round() if ties else maps
    maps = maps.abs() + 0.5 if "gem" in spec and "of=" not in spec else maps
    leaf = maps.clone().requires_grad_()
    pooling(leaf).sum().backward()
    torch.testing.assert_close(pooling.weights(maps), leaf.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("spec", SHARES)
def test_the_score_is_the_weighted_sum_of_the_map(spec):
    pooling = heads.create_pooling(spec).eval()
    maps = random_maps(2, 3, 7, 6).abs()
    torch.testing.assert_close((pooling.weights(maps) * maps).sum((-2, -1)), pooling(maps), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("spec", "power"), [("linear", 1), ("exp(of=probabilities)", 0)])
def test_probabilities_are_weighted_where_they_are_pooled(spec, power):
    pooling, maps = heads.create_pooling(spec), random_maps(2, 3, 7, 6)
    p = maps.sigmoid()
    odds = p if power else p.exp()
    torch.testing.assert_close(pooling.weights(maps), odds / odds.sum((-2, -1), keepdim=True))
    torch.testing.assert_close((pooling.weights(maps) * p).sum((-2, -1)), pooling(maps).sigmoid())


@pytest.mark.parametrize("spec", sorted({*GRADIENTS, *SHARES, "linear", "exp(of=probabilities)"}))
def test_they_have_the_shape_and_dtype_of_the_maps(spec):
    pooling = heads.create_pooling(spec)
    for maps in (random_maps(2, 3, 7, 6, dtype=torch.bfloat16), random_maps(3, 1, 5), random_maps(0, 3, 7, 6)):
        with torch.inference_mode():
            weights = pooling.weights(maps.abs())
        assert (weights.shape, weights.dtype) == (maps.shape, maps.dtype)
        assert weights.isfinite().all()


def test_where_a_soft_pooling_says_so_its_gradient_is_another():
    leaf = random_maps(2, 3, 7, 6).requires_grad_()
    pooling = heads.create_pooling("softpool(beta=2)")
    scores = pooling(leaf)
    scores.sum().backward()
    weights = pooling.weights(leaf.detach())
    torch.testing.assert_close(leaf.grad, weights * (1 + 2 * (leaf - scores[..., None, None])).detach())


def test_of_what_lies_below_eps_gem_sees_nothing():
    leaf = random_maps(2, 3, 7, 6).requires_grad_()
    pooling = heads.create_pooling("gem(p=2.5)")
    pooling(leaf).sum().backward()
    weights = pooling.weights(leaf.detach())
    torch.testing.assert_close(weights, leaf.grad)
    assert not weights[leaf < 0].any()


def test_weldon_points_up_and_down():
    maps = torch.tensor([[[-2.0, 0.0], [3.0, 6.0]]])
    assert heads.create_pooling("weldon(k_max=2, k_min=1)").weights(maps).tolist() == [[[1.0, 0.0], [0.5, 0.5]]]
    overlapping = heads.create_pooling("weldon(k_max=all, k_min=1)").weights(maps)
    assert overlapping.tolist() == [[[1.25, 0.25], [0.25, 0.25]]]


def test_a_pooling_of_ones_own_must_say_where_its_scores_come_from():
    class Own(Pooling):
        def forward(self, maps):
            return maps.sum((-2, -1))

    with pytest.raises(NotImplementedError, match="Own does not say where its scores come from"):
        Own().weights(torch.ones(1, 2, 2))
