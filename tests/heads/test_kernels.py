"""The dispatch between the plain expressions and the kernels."""

import subprocess
import sys

import pytest
import torch

import heads
from heads import kernels
from heads.kernels import cpu_rows


@pytest.fixture
def calls(monkeypatch):
    """The values that the CPU's kernel of LSE was asked for."""
    seen = []
    pool = cpu_rows.LSE.pool
    monkeypatch.setattr(cpu_rows.LSE, "worthwhile", 0)
    monkeypatch.setattr(cpu_rows.LSE, "pool", lambda self, *args: seen.append(args) or pool(self, *args))
    return seen


def test_plain_tensors_go_to_the_kernel(calls):
    heads.pooling.lse(torch.ones(2, 3, 4, 4), 2.0)
    heads.pooling.lse(torch.nn.Parameter(torch.ones(3, 4, 4)), 2.0)
    assert len(calls) == 2


# Torch's forward mode builds its own decompositions with torch.jit.script, which warns.
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore::torch.jit.TracerWarning")
def test_whoever_follows_the_computation_sees_the_plain_expression(calls):
    maps = torch.randn(2, 3, 4, 4)
    pool = lambda maps: heads.pooling.lse(maps, 2.0)  # noqa: E731
    torch.func.vmap(pool)(maps)
    torch.func.grad(lambda maps: pool(maps).sum())(maps)
    torch.func.jvp(pool, (maps,), (maps,))
    with torch.autograd.forward_ad.dual_level():
        pool(torch.autograd.forward_ad.make_dual(maps, maps))
    torch.compile(pool, fullgraph=True, backend="eager")(maps)
    torch.export.export(heads.pooling.LSE(2.0), (maps,))
    torch.jit.trace(pool, (maps,), check_trace=False)
    assert not calls


def test_half_precision_is_summed_in_single(calls):
    maps = torch.randn(2, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    scores = heads.pooling.lse(maps, 2.0)
    scores.sum().backward()
    assert scores.dtype == maps.grad.dtype == torch.bfloat16
    assert calls[0][0].dtype == torch.float32


@pytest.mark.long
def test_importing_heads_leaves_triton_alone():
    code = "import sys, heads, torch; heads.pooling.lse(torch.ones(1, 2, 2)); print('triton' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_kernel_that_does_not_run_gives_way_with_a_warning(monkeypatch):
    class Broken(kernels.Kernel):
        def try_on(self, device):
            raise RuntimeError("no C compiler")

    monkeypatch.setattr(kernels, "_triton_kernels", lambda: {"lse": Broken()})
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    kernels._triton_kernel.cache_clear()
    with pytest.warns(UserWarning, match="the Triton kernel lse does not run on cuda, .* no C compiler"):
        assert kernels._triton_kernel("lse", torch.device("cuda")) is None
    assert kernels._triton_kernel("softpool", torch.device("cuda")) is None
    kernels._triton_kernel.cache_clear()
