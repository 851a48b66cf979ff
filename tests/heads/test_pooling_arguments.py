"""Arguments without meaning name themselves, the value and what to do; sizes that a head fills in."""

import math

import pytest
import torch

import heads
from heads import MapClassifier
from heads.pooling import LSE, Exp, GeM, Linear, Mixed, SoftPool, Stochastic, exp, gem, linear, lse, mixed, softpool

ONES = torch.ones(3, 2, 2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: Mixed(lam=1.5),
            ValueError,
            r"lam is 1.5, expected .* maximum in \[0, 1\]: try lam=0.5",
        ),
        (lambda: mixed(ONES, -0.1), ValueError, "lam is -0.1, expected"),
        (lambda: Mixed(lam=math.nan), ValueError, "lam is nan, expected a number: try lam=1"),
        (lambda: Mixed(lam="half"), TypeError, "lam is 'half', expected a number"),
        (
            lambda: Mixed(lam=1, mode="learned"),
            ValueError,
            "lam is 1, a limit .* start at lam=0.5",
        ),
        (lambda: Mixed(mode="drawn"), ValueError, "mode is 'drawn', expected 'fixed' or 'learned' or 'random'"),
        (lambda: mixed(ONES, mode="learned"), ValueError, "mode is 'learned', expected 'fixed' or 'random'"),
        (lambda: Mixed(draw="pixel"), ValueError, "draw is 'pixel', expected 'element' or 'channel' or 'layer'"),
        (lambda: GeM(p=0), ValueError, "p is 0.0, expected an exponent above 0: try p=3"),
        (lambda: gem(ONES, -2), ValueError, "p is -2.0, expected an exponent above 0"),
        (lambda: GeM(p=math.nan), ValueError, "p is nan, expected a number"),
        (
            lambda: GeM(p=math.inf, learnable=True),
            ValueError,
            "p is inf, a limit .* start at p=3",
        ),
        (lambda: GeM(eps=0), ValueError, "eps is 0.0, expected a small number above 0: try eps=1e-6"),
        (
            lambda: GeM(classes=3),
            ValueError,
            "classes is 3 and learnable False: expected learnable=True",
        ),
        (lambda: GeM(learnable=1), TypeError, "learnable is 1, expected True or False"),
        (lambda: GeM(of="logits"), ValueError, "of is 'logits', expected 'values' or 'probabilities'"),
        (
            lambda: gem(ONES, torch.ones(2)),
            ValueError,
            r"p has shape \(2,\).* scalar or one for each of 3 maps",
        ),
        (lambda: lse(ONES, torch.ones(2)), ValueError, r"beta has shape \(2,\).*one for each of 3 maps"),
        (lambda: LSE(learnable=True, classes=0), ValueError, "classes is 0, expected 1 or more"),
        (lambda: LSE(learnable=True, classes="auto"), ValueError, "classes is 'auto', which only a head can fill in"),
        (lambda: LSE(learnable=True, classes=2)(ONES), ValueError, r"beta has shape \(2,\)"),
        (lambda: LSE(learnable=True, classes=2).weights(ONES), ValueError, r"beta has shape \(2,\)"),
        (lambda: SoftPool(beta=-1), ValueError, "beta is -1.0, expected a sharpness of 0 or more: try beta=1"),
        (lambda: softpool(ONES, math.nan), ValueError, "beta is nan, expected a number"),
        (lambda: Exp(of="x"), ValueError, "of is 'x', expected"),
        (lambda: exp(ONES, of="x"), ValueError, "of is 'x', expected"),
        (lambda: Linear(of="x"), ValueError, "of is 'x', expected"),
        (lambda: linear(-ONES, of="values"), ValueError, r"maps go down to -1, expected 0 or more.*of='probabilities'"),
        (lambda: Linear(of="values").weights(-ONES), ValueError, "maps go down to -1, expected 0 or more"),
        (lambda: Stochastic(probability="x"), ValueError, "probability is 'x', expected 'share' or 'softmax'"),
    ],
)
def test_arguments_without_meaning_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("spec", "instead"),
    [
        ("stochastic", r"use stochastic\(probability=softmax\)"),
        ("linear(of=values)", r"use linear\(of=probabilities\)"),
        ("gem(p=4)", r"use gem\(of=probabilities\)"),
    ],
)
def test_a_head_refuses_poolings_of_maps_without_signs(spec, instead):
    with pytest.raises(ValueError, match=rf"takes maps of 0 or more, and class maps have signs: {instead}"):
        MapClassifier(8, 5, pooling=spec)


def test_a_head_fills_in_the_sizes_that_a_spec_leaves_to_it():
    head = MapClassifier(8, 5, pooling="lse(beta=2, learnable=true, classes=auto)")
    assert repr(head.pooling) == "lse(beta=2, learnable=True, classes=5)"
    assert head.pooling.log_beta.shape == (5,)
    assert head.pooling.sharpness == pytest.approx([2] * 5)
    head = MapClassifier(8, 5, pooling="gem(p=2, learnable=true, classes=auto, of=probabilities)")
    assert head.pooling.exponent == pytest.approx([2] * 5)
    assert head(torch.ones(1, 8, 3, 3)).scores.shape == (1, 5)
    assert heads.create_pooling("gap", classes=3, channels=4)


@pytest.mark.parametrize(("pool", "name"), [(lse, "beta"), (gem, "p")])
def test_each_class_has_its_own_number_and_its_gradient(pool, name):
    maps = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    numbers = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64, requires_grad=True)
    scores = pool(maps, numbers)
    for i, number in enumerate(numbers.tolist()):
        torch.testing.assert_close(scores[:, i], pool(maps, number)[:, i])
    assert torch.autograd.gradcheck(pool, (maps, numbers))


@pytest.mark.parametrize("raw", [-1e4, -90.0, 90.0, 1e4])
@pytest.mark.parametrize(
    "spec", ["gem(learnable=True)", "gem(learnable=True, of=probabilities)", "mixed(mode=learned)"]
)
def test_what_was_learnt_and_ran_away_gives_limits_not_nan(spec, raw):
    pooling = heads.create_pooling(spec)
    (parameter,) = pooling.parameters()
    torch.nn.init.constant_(parameter, raw)
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scores = pooling(maps)
    scores.sum().backward()
    assert scores.isfinite().all()
    assert maps.grad.isfinite().all()
    assert parameter.grad.isfinite()
    assert (scores <= maps.amax((-2, -1)) + 1e-3).all()
    assert (scores >= maps.amin((-2, -1)) - 1e-3).all()


def test_mixed_learns_within_zero_and_one():
    pooling = Mixed(lam=0.5, mode="learned")
    optimizer = torch.optim.SGD(pooling.parameters(), lr=5.0)
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    for _ in range(50):  # towards the average
        optimizer.zero_grad()
        pooling(maps).mean().backward()
        optimizer.step()
    assert 0 < pooling.weight < 0.1
