"""Drawn poolings: distributions, generators, and what a draw's gradient is."""

import pytest
import torch

from heads.downsampling import MixedPool2d, StochasticPool2d, mixedpool2d, stochasticpool2d
from heads.downsampling._draw import choose, pick
from heads.downsampling._window import Window
from heads.kernels.cpu_draw import Draw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_maps(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype, generator=generator())


def frequencies(maps, draws=20_000, **arguments):
    """How often each of a window's four values (all different) was drawn, in as many windows."""
    many = maps.expand(draws, 1, 2, 2).clone()
    drawn = stochasticpool2d(many, 2, training=True, generator=generator(), **arguments).flatten()
    return torch.stack([(drawn == value).double().mean() for value in maps.flatten()])


def test_shares_are_drawn_as_often_as_they_say():
    maps = torch.tensor([[1.0, 0.0], [3.0, 6.0]])
    found = frequencies(maps)
    torch.testing.assert_close(found, maps.flatten().double() / 10, rtol=0, atol=0.015)
    assert found[1] == 0


def test_softmax_draws_take_signs():
    maps = torch.tensor([[-1.0, 0.0], [0.5, -2.0]])
    found = frequencies(maps, probability="softmax")
    torch.testing.assert_close(found, maps.flatten().double().softmax(0), rtol=0, atol=0.015)


def test_the_mean_of_draws_is_the_evaluation():
    maps = random_maps(1, 3, 7, 7).abs()
    pool = StochasticPool2d(3, stride=2, padding=1)
    draws = pool(maps.expand(4000, 3, 7, 7), generator=generator())
    torch.testing.assert_close(draws.mean(0), pool.eval()(maps)[0], rtol=0, atol=0.05)


def test_windows_are_drawn_apart():
    drawn = stochasticpool2d(
        torch.tensor([1.0, 2.0]).repeat(1, 1, 40, 20), (1, 2), training=True, generator=generator()
    )
    assert 0.5 < (drawn == 2).double().mean() < 0.8
    assert len(drawn.flatten(0, 2).unique(dim=0)) > 30


@pytest.mark.parametrize("probability", ["share", "softmax"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("window", [(2,), (3, 2, 1), (3, 1, 1, 2, True), (17,)])
def test_blocks_draw_what_the_definition_draws(probability, layout, window):
    """The last kernel has more places than a byte can number."""
    maps = random_maps(2, 3, 19, 20, dtype=torch.float64).relu().to(memory_format=layout)
    window = Window.of(2, *window)
    uniform = torch.rand(2, 3, *window.output_size((19, 20)), dtype=torch.float64, generator=generator(1))
    softmax = probability == "softmax"
    twin = maps.clone().requires_grad_()
    drawn, (places,) = Draw().forward(maps, window, softmax, uniform, pick)
    expected_places = choose(twin, uniform, window, softmax)
    expected = pick(twin, expected_places, window)
    assert torch.equal(places, expected_places)
    assert torch.equal(drawn, expected)
    gradient, _ = Draw().backward(2 * drawn, maps, (places,), window, softmax, uniform, pick)
    expected.square().sum().backward()
    torch.testing.assert_close(gradient, twin.grad)


def test_a_draw_at_the_very_end_takes_the_last_share():
    maps = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])
    almost_one = torch.full((1, 1, 1), 1 - 2**-24)
    assert Draw().forward(maps, Window.of(2, 2), False, almost_one, pick)[0].item() == 3
    assert Draw().forward(maps, Window.of(2, 2), False, 0 * almost_one, pick)[0].item() == 1


def test_a_window_of_zeros_is_zero_and_has_no_gradient():
    maps = torch.zeros(1, 4, 4, requires_grad=True)
    for training in (True, False):
        result = stochasticpool2d(maps, 2, training=training)
        assert not result.any()
        result.sum().backward()
        assert not maps.grad.any()


def test_the_gradient_goes_where_the_value_came_from():
    maps = (random_maps(2, 3, 8, 8).abs() + 0.1).requires_grad_()
    drawn = stochasticpool2d(maps, 2, training=True, generator=generator())
    drawn.sum().backward()
    assert (maps.grad.sum((-2, -1)) == 16).all()
    assert torch.equal(maps.grad[maps.grad != 0], torch.ones(96))
    torch.testing.assert_close((maps.grad * maps.detach()).sum(), drawn.detach().sum())


def test_a_draw_is_linear_and_can_be_differentiated_twice():
    maps = (random_maps(1, 4, 4, dtype=torch.float64).abs() + 0.1).requires_grad_()

    def draw(values):
        return stochasticpool2d(values, 2, training=True, generator=generator())

    assert torch.autograd.gradcheck(draw, (maps,))
    assert torch.autograd.gradgradcheck(lambda values: draw(values).square(), (maps,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_draws_values_of_the_map(dtype):
    maps = random_maps(2, 3, 8, 8).abs().to(dtype)
    drawn = stochasticpool2d(maps, 2, training=True, generator=generator())
    assert drawn.dtype == dtype
    assert torch.isin(drawn, maps).all()


@pytest.mark.parametrize(
    "pool",
    [
        StochasticPool2d(3, 2, 1),
        MixedPool2d(2, mode="random"),
        MixedPool2d(2, mode="random", draw="channel"),
        MixedPool2d(2, mode="random", draw="element"),
    ],
    ids=repr,
)
def test_the_generator_decides_and_evaluation_draws_nothing(pool):
    maps = random_maps(4, 16, 8, 8).abs()
    first = pool(maps, generator=generator(3))
    assert torch.equal(first, pool(maps, generator=generator(3)))
    assert any(not torch.equal(first, pool(maps, generator=generator(seed))) for seed in range(4, 20))
    torch.manual_seed(5)
    by_default = pool(maps)
    torch.manual_seed(5)
    assert torch.equal(by_default, pool(maps))
    pool.eval()
    state = torch.get_rng_state()
    assert torch.equal(pool(maps), pool(maps))
    assert torch.equal(torch.get_rng_state(), state)
    pool.train()


def test_vmap_draws_for_each():
    maps = random_maps(1, 1, 8, 8).abs().expand(50, 1, 8, 8)
    each = torch.func.vmap(lambda image: stochasticpool2d(image, 2, training=True), randomness="different")(maps)
    assert len(each.flatten(1).unique(dim=0)) == 50
    same = torch.func.vmap(lambda image: stochasticpool2d(image, 2, training=True), randomness="same")(maps)
    assert len(same.flatten(1).unique(dim=0)) == 1


def test_training_compiles_to_one_graph():
    torch.compiler.reset()
    maps = random_maps(2, 3, 8, 8).abs()
    compiled = torch.compile(StochasticPool2d(2), fullgraph=True, backend="eager")
    assert torch.isin(compiled(maps), maps).all()


def test_negative_values_have_no_share():
    maps = random_maps(1, 3, 4, 4)
    for training in (True, False):
        with pytest.raises(
            ValueError, match=r"maps go down to -.*, expected 0 or more: rectify .*probability='softmax'"
        ):
            stochasticpool2d(maps, 2, training=training)


@pytest.mark.parametrize(("draw", "together"), [("layer", (0, 1, 2, 3)), ("channel", (0, 2, 3)), ("element", ())])
def test_mixed_draws_the_maximum_or_the_average_for_what_it_says(draw, together):
    maps = random_maps(8, 64, 8, 8)
    highest = mixedpool2d(maps, 2, lam=1.0)
    arguments = {"lam": 0.3, "mode": "random", "draw": draw, "training": True}
    share = []
    for seed in range(40):
        found = mixedpool2d(maps, 2, **arguments, generator=generator(seed))
        is_highest = found == highest
        assert torch.equal(found[~is_highest], mixedpool2d(maps, 2, lam=0.0)[~is_highest])
        if together:
            flags = is_highest.double()
            assert torch.equal(flags.amin(together), flags.amax(together))
        share.append(is_highest.double().mean())
    assert torch.stack(share).mean().item() == pytest.approx(0.3, abs=0.2 if draw == "layer" else 0.02)
    torch.testing.assert_close(mixedpool2d(maps, 2, **{**arguments, "training": False}), mixedpool2d(maps, 2, lam=0.3))
