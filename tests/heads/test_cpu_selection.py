"""The CPU's fast selection is topk and mean: value, gradient, ties, transforms."""

import math

import pytest
import torch
from torch.autograd import forward_ad

from heads.kernels import cpu_selection
from heads.kernels.cpu_boundary import find_boundaries
from heads.kernels.selecting import End
from heads.pooling import kmax, weldon


@pytest.fixture(autouse=True)
def everything_is_worthwhile(monkeypatch):
    monkeypatch.setattr(cpu_selection, "_WORTHWHILE", 1)


@pytest.fixture
def calls(monkeypatch):
    """The number of times that the fast path was taken."""
    seen = []
    true = cpu_selection.select_rows
    monkeypatch.setattr(cpu_selection, "select_rows", lambda *args: seen.append(args) or true(*args))
    return seen


# Torch's forward mode builds its own decompositions with torch.jit.script, which warns.
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


def random_maps(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def by_topk(maps, k_max, k_min=0):
    values = maps.flatten(-2)
    top = values.topk(k_max, sorted=False).values.mean(-1)
    return top + values.topk(k_min, largest=False, sorted=False).values.mean(-1) if k_min else top


def value_and_gradient(pool, maps):
    maps = maps.detach().clone().requires_grad_()
    scores = pool(maps)
    scores.backward(random_maps(*scores.shape, dtype=maps.dtype, seed=1))
    return scores.detach(), maps.grad


def spike(maps):
    maps[..., 0, 0] = 1e4
    return maps


DISTRIBUTIONS = {
    "normal": lambda maps: maps,
    "skewed": lambda maps: (2 * maps).exp(),
    "offset": lambda maps: 1e4 + maps,
    "two humps": lambda maps: maps / 100 + maps.sign(),
    "spike": spike,
    "relu": lambda maps: (maps - 1).relu(),
    "few values": lambda maps: maps.round(),
    "constant": torch.zeros_like,
    "tiny": lambda maps: 1e-38 * maps,
    "huge": lambda maps: 1e36 * maps.clamp(-1, 1),
    "minus infinity": lambda maps: maps.masked_fill(maps < -0.5, -math.inf),
    "one infinity": lambda maps: maps.index_fill(-1, torch.tensor(3), math.inf),
    "nan": lambda maps: maps.masked_fill(maps > 2.5, math.nan),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spread", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_it_is_topk_whatever_the_values(spread, dtype, calls):
    maps = spread(random_maps(3, 40, 12, 11, dtype=dtype))
    for k_max, k_min in ((3, 0), (26, 26), (131, 7), (66, 66)):
        scores, gradient = value_and_gradient(lambda maps, a=k_max, b=k_min: weldon(maps, a, b), maps)
        expected, expected_gradient = value_and_gradient(lambda maps, a=k_max, b=k_min: by_topk(maps, a, b), maps)
        largest = maps[maps.isfinite()].abs().max().item()  # the two ends may cancel
        close = {"rtol": 0, "atol": 4 * torch.finfo(dtype).eps * largest}
        torch.testing.assert_close(scores, expected, equal_nan=True, **close)
        torch.testing.assert_close(gradient, expected_gradient)
    assert len(calls) == 4


def test_chunks_do_not_show(monkeypatch, calls):
    maps = random_maps(3, 40, 12, 11)
    expected = kmax(maps, 26)
    monkeypatch.setattr(cpu_selection, "_CHUNK", 1000)
    torch.testing.assert_close(kmax(maps, 26), expected, rtol=0, atol=0)
    assert len(calls) == 2


@pytest.mark.parametrize("above", [(1,), (26,), (131,), (26, 106), (131, 1, 50)])
def test_a_boundary_has_as_many_values_above_it_as_asked(above):
    rows = random_maps(500, 132)
    boundaries = find_boundaries(rows, above, rows.new_empty(len(above), 500, 132))
    assert boundaries.shape == (len(above), 500, 1)
    for count, some in zip(above, boundaries, strict=True):
        found = ~some.isnan().squeeze(-1)
        assert ((rows > some).sum(-1)[found] == count).all()
        assert found.float().mean() > 0.9


def test_most_skewed_rows_find_their_boundary_too():
    rows = (2 * random_maps(500, 784)).exp()
    assert find_boundaries(rows, (156,), rows.new_empty(1, 500, 784)).isnan().float().mean() < 0.2


@pytest.mark.parametrize(
    "name", ["normal", "skewed", "offset", "tiny", "spike", "few values", "constant", "one infinity"]
)
def test_hopeless_searches_are_foreseen(name):
    rows = DISTRIBUTIONS[name](random_maps(400, 12, 11)).flatten(1)
    end = End(66, largest=True)
    unfound = find_boundaries(rows, (66,), torch.empty(1, *rows.shape, dtype=rows.dtype)).isnan().float().mean()
    assert cpu_selection.is_search_hopeless(rows, end) == (unfound > 0.5)


@pytest.mark.parametrize(
    ("ends", "kept"), [(((9, 1.0), (9, 1.0)), 1), (((9, 1.0), (12, 1.0)), 2), (((9, 1.0), (9, 0.7)), 2)]
)
def test_one_byte_a_location_serves_ends_whose_values_count_the_same(ends, kept):
    rows = random_maps(40, 36)
    both = tuple(End(count, largest, weight) for (count, weight), largest in zip(ends, (True, False), strict=True))
    scores, marks = cpu_selection.select_rows(rows, both)
    assert marks.shape == (kept, 40, 36)
    assert marks.element_size() == 1
    each = [
        weight * rows.topk(count, largest=largest).values.mean(-1)
        for (count, weight), largest in zip(ends, (True, False), strict=True)
    ]
    torch.testing.assert_close(scores, sum(each))


@forward_mode
@pytest.mark.parametrize("k_min", [3, 5])
def test_first_and_second_derivatives(calls, k_min):
    maps = random_maps(1, 2, 3, 4).requires_grad_()
    pool = lambda maps: weldon(maps, 3, k_min).sin()  # noqa: E731
    assert torch.autograd.gradcheck(pool, (maps,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(pool, (maps,), check_fwd_over_rev=True, check_rev_over_rev=True)
    assert calls


@forward_mode
@pytest.mark.parametrize("k_min", [7, 9])
def test_function_transforms(calls, k_min):
    maps = random_maps(4, 2, 6, 6)
    pool, slow = (lambda maps: weldon(maps, 9, k_min)), (lambda maps: by_topk(maps, 9, k_min))
    loss = lambda f: lambda maps: f(maps).pow(3).sum()  # noqa: E731
    for transform in (
        torch.func.vmap,
        lambda f: torch.func.vmap(f, in_dims=3),
        lambda f: torch.func.vmap(torch.func.vmap(lambda x: f(x[None]))),
        lambda f: torch.func.grad(loss(f)),
        lambda f: torch.func.vmap(torch.func.grad(loss(f))),
        lambda f: torch.func.grad(loss(torch.func.vmap(f))),
        lambda f: torch.func.jacrev(f),
        lambda f: torch.func.jacfwd(f),
        lambda f: torch.func.hessian(loss(f)),
        lambda f: lambda maps: torch.func.jvp(f, (maps,), (maps.cos(),)),
    ):
        torch.testing.assert_close(transform(pool)(maps), transform(slow)(maps))
    assert not calls  # they see the plain expression


@forward_mode
def test_forward_mode_under_a_batch():
    maps, tangents = random_maps(2, 2, 6, 6), random_maps(5, 2, 2, 6, 6, seed=1)
    pushed = torch.func.vmap(lambda tangent: torch.func.jvp(lambda maps: kmax(maps, 9), (maps,), (tangent,))[1])
    torch.testing.assert_close(pushed(tangents)[3], torch.func.jvp(lambda m: kmax(m, 9), (maps,), (tangents[3],))[1])
    one = pushed(tangents)[3]
    with forward_ad.dual_level():
        dual = kmax(forward_ad.make_dual(maps, tangents[3]), 9)
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, one)


@pytest.mark.parametrize(
    "layout",
    [
        lambda maps: maps.to(memory_format=torch.channels_last),
        lambda maps: maps.transpose(-2, -1),
        lambda maps: maps[::2, 1:],
        lambda maps: maps[:1].expand(3, -1, -1, -1),
        lambda maps: maps[:0],
        lambda maps: maps[0],
    ],
)
def test_layouts(layout, calls):
    maps = random_maps(4, 5, 8, 7).requires_grad_()
    scores = weldon(layout(maps), 11, 9)
    torch.testing.assert_close(scores, by_topk(layout(maps), 11, 9))
    (gradient,) = torch.autograd.grad(scores.square().sum(), maps)
    (expected,) = torch.autograd.grad(by_topk(layout(maps), 11, 9).square().sum(), maps)
    torch.testing.assert_close(gradient, expected)


def test_the_gradient_may_come_expanded_or_in_another_layout():
    maps = random_maps(2, 3, 8, 7).requires_grad_()
    kmax(maps, 11).sum().backward()
    torch.testing.assert_close(maps.grad.sum((-2, -1)), torch.ones(2, 3, dtype=maps.dtype))
    maps.grad = None
    kmax(maps, 11).t().contiguous().sum().backward()
    assert (maps.grad.count_nonzero((-2, -1)) == 11).all()


def test_a_byte_a_location_is_kept_for_the_backward():
    maps = random_maps(2, 3, 20, 20).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.nbytes) or tensor, lambda x: x):
        kmax(maps, 0.2)
    assert sum(kept) == maps.numel()
