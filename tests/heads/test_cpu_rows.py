"""The CPU's kernels of smooth poolings are their plain expressions: value, every gradient, transforms, memory."""

import pytest
import torch

from heads import kernels
from heads.kernels import cpu_rows
from heads.pooling import gem, lse, softpool

# Torch's forward mode builds its own decompositions with torch.jit.script, which warns.
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")

POOLS = {
    "lse(4)": lambda maps: lse(maps, 4.0),
    "lse(0.02)": lambda maps: lse(maps, 0.02),
    "lse(1e-6)": lambda maps: lse(maps, 1e-6),
    "gem(1)": lambda maps: gem(maps.exp(), 1),
    "gem(2)": lambda maps: gem(maps.exp(), 2),
    "gem(3)": lambda maps: gem(maps, 3, eps=0.1),
    "gem(0.01)": lambda maps: gem(maps.exp(), 0.01),
    "gem(2.7)": lambda maps: gem(maps, 2.7, eps=0.1),
    "gem(50)": lambda maps: gem(maps.exp(), 50),
    "softpool": softpool,
    "softpool(0.1)": lambda maps: softpool(maps, 0.1),
    "softpool(9)": lambda maps: softpool(maps, 9),
}
SMOOTH = {name: pool for name, pool in POOLS.items() if "eps" not in name}
LEARNT = {
    "lse": lambda maps, setting: lse(maps, setting),
    "gem": lambda maps, setting: gem(maps.exp(), setting),
}


@pytest.fixture(autouse=True)
def everything_is_worthwhile(monkeypatch):
    for kernel in (cpu_rows.LSE, cpu_rows.PowerMean, cpu_rows.SoftPool):
        monkeypatch.setattr(kernel, "worthwhile", 0)


@pytest.fixture
def plainly(monkeypatch):
    """Call a function with the plain expressions."""

    def call(function, *args):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "find", lambda *_: None)
            return function(*args)

    return call


def random_maps(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def gradients(function, *args):
    args = [arg.detach().clone().requires_grad_() for arg in args]
    scores = function(*args)
    return scores, *torch.autograd.grad((scores * random_maps(*scores.shape, seed=1)).sum(), args)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_it_is_the_plain_expression(pool, plainly, monkeypatch):
    chunks = cpu_rows.chunks
    monkeypatch.setattr(cpu_rows, "chunks", lambda rows: chunks(rows, 60))
    for maps in (random_maps(3, 5, 6, 7), 30 * random_maps(2, 3, 4, 4), torch.full((2, 2, 3, 3), -1.5).double()):
        for layout in (maps, maps.to(memory_format=torch.channels_last), maps.transpose(-1, -2), maps[1:, ::2]):
            torch.testing.assert_close(gradients(pool, layout), plainly(gradients, pool, layout))


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_single_precision_keeps_its_digits(pool):
    maps = random_maps(3, 5, 28, 28, dtype=torch.float32)
    for actual, expected in zip(gradients(pool, maps), gradients(pool, maps.double()), strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("function", LEARNT.values(), ids=LEARNT)
@pytest.mark.parametrize("setting", [[3.0], [0.05], [1.0, 0.01, 7.5]])
def test_a_learnt_setting_is_the_plain_expression_too(function, setting, plainly):
    maps = random_maps(2, 3, 6, 5)
    for shape in ((len(setting),), ()) if len(setting) == 1 else ((len(setting),),):
        value = torch.tensor(setting, dtype=torch.float64).reshape(shape)
        value = value.expand(3) if value.shape == (1,) else value
        torch.testing.assert_close(gradients(function, maps, value), plainly(gradients, function, maps, value))


@forward_mode
@pytest.mark.parametrize("pool", [POOLS[name] for name in ("lse(4)", "gem(2)", "gem(2.7)", "softpool")])
def test_first_and_second_derivatives(pool):
    maps = random_maps(2, 1, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(pool, (maps,), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(pool, (maps,), check_fwd_over_rev=True, check_rev_over_rev=True)


@forward_mode
@pytest.mark.parametrize("function", LEARNT.values(), ids=LEARNT)
def test_first_and_second_derivatives_of_a_learnt_setting(function):
    maps, setting = random_maps(1, 2, 2, 2).requires_grad_(), torch.tensor([1.5, 0.7]).double().requires_grad_()
    assert torch.autograd.gradcheck(function, (maps, setting), check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, (maps, setting), check_fwd_over_rev=True)


@forward_mode
@pytest.mark.parametrize("pool", [POOLS[name] for name in ("lse(4)", "gem(2)", "softpool")])
def test_function_transforms(pool, plainly):
    maps = random_maps(3, 2, 4, 4)
    loss = lambda f: lambda maps: f(maps).pow(3).sum()  # noqa: E731
    for transform in (
        torch.func.vmap,
        lambda f: torch.func.vmap(f, in_dims=3),
        lambda f: torch.func.vmap(torch.func.vmap(lambda x: f(x[None]))),
        lambda f: torch.func.grad(loss(f)),
        lambda f: torch.func.vmap(torch.func.grad(loss(f))),
        lambda f: torch.func.grad(loss(torch.func.vmap(f))),
        torch.func.jacrev,
        torch.func.jacfwd,
        lambda f: torch.func.hessian(loss(f)),
    ):
        torch.testing.assert_close(transform(pool)(maps), plainly(transform(pool), maps))


@forward_mode
@pytest.mark.parametrize("function", LEARNT.values(), ids=LEARNT)
def test_models_side_by_side(function, plainly):
    maps, settings = random_maps(2, 3, 4, 4), torch.tensor([0.5, 2.0, 7.0, 1.1, 0.3]).double()
    loss = lambda maps, setting: function(maps, setting).square().sum()  # noqa: E731
    for transform, dims in ((lambda f: f, 0), (lambda f: torch.func.grad(f, argnums=(0, 1)), 0)):
        call = torch.func.vmap(transform(loss), in_dims=(None, dims))
        torch.testing.assert_close(call(maps, settings), plainly(call, maps, settings))


@pytest.mark.parametrize(("name", "tensors"), [("lse(4)", 1), ("gem(2.7)", 1), ("softpool", 2)])
def test_at_most_one_tensor_is_kept_beside_the_input(name, tensors):
    maps = random_maps(2, 3, 20, 20).requires_grad_()
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.update({tensor.data_ptr(): tensor.nbytes}) or tensor, lambda tensor: tensor
    ):
        scores = POOLS[name](maps)
    assert sum(kept.values()) <= tensors * maps.nbytes + scores.nbytes
