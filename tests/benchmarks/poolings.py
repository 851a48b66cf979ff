"""The global poolings against what people copy: forward and backward on the CPU, as one Markdown table.

    python tests/benchmarks/poolings.py --threads 1
    python tests/benchmarks/poolings.py --quick

Selecting poolings stand against a full descending sort whose backward scatters by hand (WILDCAT's public code and its
copies), smooth ones against their straightforward expression in eager torch. Both take turns, A B A B, in one
process; the ratio is the median over the pairs. Errors are against float64, relative to the largest value, of scores
and gradients. On a busy machine ``--clock cpu`` counts the time of this process alone.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import heads

Pool = Callable[[Tensor], Tensor]


class Case(NamedTuple):
    name: str
    ours: Pool
    theirs: Pool
    aim: float
    smooth: bool = False


class SortAndScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, k_max: int, k_min: int) -> Tensor:
        batch, channels, height, width = maps.shape
        n = height * width
        ordered, indices = maps.view(batch, channels, n).sort(dim=2, descending=True)
        ctx.k_max, ctx.k_min, ctx.shape = k_max, k_min, maps.shape
        ctx.highest = indices.narrow(2, 0, k_max)
        scores = ordered.narrow(2, 0, k_max).sum(2).div_(k_max)
        if k_min > 0:
            ctx.lowest = indices.narrow(2, n - k_min, k_min)
            scores.add_(ordered.narrow(2, n - k_min, k_min).sum(2).div_(k_min))
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        n = height * width
        spread = gradient.unsqueeze(2).expand(batch, channels, ctx.k_max)
        total = gradient.new_zeros(batch, channels, n).scatter_(2, ctx.highest, spread).div_(ctx.k_max)
        if ctx.k_min > 0:
            spread = gradient.unsqueeze(2).expand(batch, channels, ctx.k_min)
            total.add_(gradient.new_zeros(batch, channels, n).scatter_(2, ctx.lowest, spread).div_(ctx.k_min))
        return total.view(ctx.shape), None, None


def selecting(side: int) -> list[Case]:
    n = side * side
    cases = []
    for k in (1, 10, 0.2, 0.5):
        count = k if isinstance(k, int) else int(k * n)
        cases.append(
            Case(
                f"kmax(k={k})",
                heads.create_pooling(f"kmax(k={k})"),
                lambda maps, count=count: SortAndScatter.apply(maps, count, 0),
                3,
            )
        )
        cases.append(
            Case(
                f"weldon(k_max={k}, k_min={k})",
                heads.create_pooling(f"weldon(k_max={k}, k_min={k})"),
                lambda maps, count=count: SortAndScatter.apply(maps, count, count),
                3,
            )
        )
    return cases


def lse(maps: Tensor, beta: float | Tensor) -> Tensor:
    return (torch.logsumexp(beta * maps.flatten(-2), -1) - math.log(maps.shape[-1] * maps.shape[-2])) / beta


def gem(maps: Tensor, p: float | Tensor) -> Tensor:
    return maps.clamp(min=1e-6).pow(p).mean((-2, -1)).pow(1 / p)


def softpool(maps: Tensor) -> Tensor:
    values = maps.flatten(-2)
    return (values.softmax(-1) * values).sum(-1)


def smooth() -> list[Case]:
    learnt_beta, learnt_p = (torch.tensor(value, requires_grad=True) for value in (4.0, 3.0))
    return [
        Case("lse(beta=1)", lambda maps: heads.pooling.lse(maps, 1), lambda maps: lse(maps, 1), 1.5, True),
        Case("lse(beta=4)", lambda maps: heads.pooling.lse(maps, 4), lambda maps: lse(maps, 4), 1.5, True),
        Case("lse, learnt", lambda x: heads.pooling.lse(x, learnt_beta), lambda x: lse(x, learnt_beta), 1.5, True),
        Case("gem(p=3)", lambda maps: heads.pooling.gem(maps, 3), lambda maps: gem(maps, 3), 1.5, True),
        Case("gem(p=2.7)", lambda maps: heads.pooling.gem(maps, 2.7), lambda maps: gem(maps, 2.7), 1.5, True),
        Case(
            "gem, learnt", lambda maps: heads.pooling.gem(maps, learnt_p), lambda maps: gem(maps, learnt_p), 1.5, True
        ),
        Case("softpool", heads.pooling.softpool, softpool, 1.5, True),
    ]


def step(pool: Pool, maps: Tensor, clock: Callable[[], float]) -> float:
    maps.grad = None
    started = clock()
    scores = pool(maps)
    scores.backward(torch.ones_like(scores))
    return clock() - started


def error(pool: Pool, maps: Tensor) -> str:
    """The largest error of scores and of gradients against float64, each relative to the largest value."""
    found = []
    for x in (maps[:2].detach(), maps[:2].detach().double()):
        x = x.clone().requires_grad_()
        scores = pool(x)
        scores.sum().backward()
        found.append((scores.detach().double(), x.grad.double()))
    ours, exact = found
    errors = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(ours, exact, strict=True)]
    return " / ".join(f"{value:.0e}" for value in errors)


def memory(pool: Pool, maps: Tensor) -> tuple[float, float]:
    """The peak over forward and backward and what is kept in between, input included, in sizes of the input."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    maps.grad = None
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pool(maps)
    kept[maps.untyped_storage().data_ptr()] = maps.nbytes
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        scores = pool(maps)
        scores.backward(torch.ones_like(scores))
    held = peak = maps.nbytes
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / maps.nbytes, sum(kept.values()) / maps.nbytes


def measure(case: Case, maps: Tensor, pairs: int, clock: Callable[[], float]) -> tuple[str, float]:
    for pool in (case.theirs, case.ours):
        step(pool, maps, clock)
    times = [(step(case.theirs, maps, clock), step(case.ours, maps, clock)) for _ in range(pairs)]
    theirs, ours = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    cells = [
        case.name,
        "x".join(map(str, maps.shape)),
        f"{theirs * 1e3:.1f}",
        f"{ours * 1e3:.1f}",
        f"{ratio:.1f}" + ("" if ratio >= case.aim else f" (aim {case.aim:g})"),
        error(case.theirs, maps),
        error(case.ours, maps),
    ]
    if case.smooth:
        cells += [" / ".join(f"{value:.2f}" for value in memory(pool, maps)) for pool in (case.theirs, case.ours)]
    else:
        cells += ["", ""]
    return f"| {' | '.join(cells)} | no GPU at hand |", ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--classes", type=int, nargs="+", default=[80, 1000])
    parser.add_argument("--sides", type=int, nargs="+", default=[14, 28, 56])
    parser.add_argument("--quick", action="store_true", help="80 classes only, 3 pairs")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    generator = torch.Generator().manual_seed(0)
    print(f"torch {torch.__version__}, {args.threads} threads, float32, {args.clock} clock\n")
    print(
        "| pooling | maps | theirs, ms | ours, ms | ratio | their error (score / gradient) | our error "
        "| their memory (peak / kept) | our memory | GPU |\n"
        "| --- | --- | ---: | ---: | ---: | --- | --- | --- | --- | --- |"
    )
    lowest = []
    for classes in [80] if args.quick else args.classes:
        for side in args.sides:
            maps = torch.randn(32, classes, side, side, generator=generator).requires_grad_()
            pairs = min(args.pairs, 3) if args.quick or maps.numel() > 5e7 else args.pairs
            for case in (*selecting(side), *smooth()):
                row, ratio = measure(case, maps, pairs, clock)
                lowest.append((ratio, case.name, side, classes))
                print(row, flush=True)
    slowest = min(lowest)
    print(f"\nlowest ratio {slowest[0]:.2f}: {slowest[1]} at {slowest[2]}x{slowest[2]}, {slowest[3]} classes")
    print("never slower" if slowest[0] >= 1 else "slower somewhere")
    return 0 if slowest[0] >= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
