"""Poolings that draw: what they draw, how often, and from whose generator."""

import pytest
import torch

import heads
from heads.pooling import Mixed, Stochastic, gap, gmp, mixed, stochastic

DRAWS = 20_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def same(values, copies):
    """`copies` of one map of these values."""
    return torch.tensor(values).reshape(1, 1, 1, -1).expand(copies, 1, 1, -1)


def chi_square(counts, probabilities):
    expected = probabilities * counts.sum()
    return ((counts - expected) ** 2 / expected).sum().item()


@pytest.mark.parametrize(
    ("probability", "odds"), [("share", lambda x: x / x.sum()), ("softmax", lambda x: x.softmax(0))]
)
def test_locations_are_drawn_with_their_probabilities(probability, odds):
    values = torch.tensor([0.5, 1.0, 0.25, 2.0, 1.5])
    maps = same(values.tolist(), DRAWS)
    drawn = stochastic(maps, probability=probability, training=True, generator=generator())
    counts = torch.stack([(drawn == value).sum() for value in values]).double()
    assert counts.sum() == DRAWS
    assert chi_square(counts, odds(values.double())) < 18.5  # of 4 degrees of freedom, beyond it one in a thousand


def test_a_location_of_zero_is_never_drawn_and_a_map_of_zeros_gives_zero():
    drawn = stochastic(same([0.0, 3.0, 0.0], DRAWS), training=True, generator=generator())
    assert (drawn == 3).all()
    zeros = torch.zeros(2, 3, 4, 4, requires_grad=True)
    for training in (True, False):
        scores = stochastic(zeros, training=training)
        assert not scores.any()
        scores.sum().backward()
        assert zeros.grad.isfinite().all()


def test_the_gradient_goes_to_the_location_drawn():
    maps = torch.rand(4, 3, 5, 5, generator=generator()).requires_grad_()
    scores = stochastic(maps, training=True, generator=generator())
    scores.sum().backward()
    assert maps.grad.sum() == 12
    torch.testing.assert_close((maps.grad * maps).sum((-2, -1)), scores)


def test_the_expectation_is_the_mean_of_draws():
    values = [0.5, 1.0, 0.25, 2.0, 1.5]
    for pooling in (Stochastic(), Stochastic(probability="softmax"), Mixed(lam=0.3, mode="random")):
        maps = same(values, DRAWS)
        mean = pooling.train()(maps, generator=generator()).mean()
        assert abs(mean - pooling.eval()(maps[:1]).item()) < 0.02  # of a deviation of 0.6 / sqrt(20000), 5 times


@pytest.mark.parametrize(("draw", "different"), [("element", 12), ("channel", 3), ("layer", 1)])
def test_mixed_draws_for_each_score_each_class_or_all(draw, different):
    maps = torch.rand(4, 3, 5, 5, generator=generator())
    highest, average = gmp(maps), gap(maps)
    source, patterns = generator(), set()
    for _ in range(200):
        scores = mixed(maps, 0.5, mode="random", draw=draw, training=True, generator=source)
        is_highest = scores == highest
        assert (is_highest | torch.isclose(scores, average)).all()
        if draw != "element":
            assert (is_highest == is_highest[:1]).all()
        if draw == "layer":
            assert is_highest.all() or not is_highest.any()
        patterns.add(tuple(is_highest.flatten().tolist()))
    assert {"element": 150, "channel": 8, "layer": 2}[draw] <= len(patterns) <= 2**different


def test_mixed_takes_the_maximum_as_often_as_told():
    maps = same([1.0, 3.0], DRAWS)
    drawn = mixed(maps, 0.3, mode="random", training=True, generator=generator())
    taken = (drawn == 3).double().mean().item()
    assert abs(taken - 0.3) < 0.0163  # five deviations


@pytest.mark.parametrize("spec", ["stochastic", "stochastic(probability=softmax)", "mixed(mode=random)"])
def test_the_same_generator_draws_the_same(spec):
    pooling, maps = heads.create_pooling(spec), torch.rand(8, 5, 7, 6, generator=generator())
    first = pooling(maps, generator=generator(1))
    assert torch.equal(pooling(maps, generator=generator(1)), first)
    assert not torch.equal(pooling(maps, generator=generator(2)), first)
    torch.manual_seed(3)
    by_torch = pooling(maps)
    torch.manual_seed(3)
    assert torch.equal(pooling(maps), by_torch)
    assert torch.equal(pooling.eval()(maps), pooling(maps))


@pytest.mark.parametrize("spec", ["stochastic", "mixed(mode=random)"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_draws_keep_dtype_and_shape(spec, dtype):
    pooling = heads.create_pooling(spec).train()
    for shape in ((2, 3, 7, 6), (3, 1, 1), (0, 3, 7, 6)):
        scores = pooling(torch.rand(shape, dtype=torch.float64).to(dtype))
        assert (scores.shape, scores.dtype) == (shape[:-2], dtype)


@pytest.mark.parametrize("spec", ["stochastic", "mixed(mode=random)"])
def test_they_draw_in_compiled_programs_and_in_vmap(spec):
    pooling, maps = heads.create_pooling(spec).train(), torch.rand(6, 3, 7, 6, generator=generator())
    torch.compiler.reset()
    compiled = torch.compile(pooling, fullgraph=True, backend="eager")(maps)
    vmapped = torch.func.vmap(pooling, randomness="different")(maps)
    for scores in (compiled, vmapped):
        assert scores.shape == (6, 3)
        assert ((scores[..., None] == maps.flatten(-2)).any(-1) | torch.isclose(scores, gap(maps))).all()


def test_negative_maps_have_no_shares():
    maps = torch.tensor([[[1.0, -0.25]]])
    message = r"maps go down to -0.25, expected 0 or more: rectify .* torch.relu\(\), or use probability='softmax'"
    for training in (True, False):
        with pytest.raises(ValueError, match=message):
            Stochastic().train(training)(maps)
    Stochastic(probability="softmax")(maps)
