"""The global poolings against what people copy: forward and backward, as one Markdown table.

    python tests/benchmarks/poolings.py --threads 1
    python tests/benchmarks/poolings.py --quick
    python tests/benchmarks/poolings.py --device cuda

Selecting poolings are compared with a full descending sort whose backward scatters by hand (WILDCAT's public code and
its copies), smooth ones with their straightforward expression in eager torch, and on CUDA windowed SoftPool with
averages of exponentials. Both take turns, A B A B, in one process; the ratio is the median over the pairs. Errors are
against float64, relative to the largest value, of scores and gradients. On a busy machine ``--clock cpu`` counts the
time of this process alone.

On CUDA a time is that of one of many steps in a row, between two synchronisations: of the GPU or of the Python that
drives it, whichever takes longer. "forward" is inference without gradients.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from pooling_cases import Case, Pool, selecting, smooth, windowed
from torch import Tensor

from heads import kernels

CUDA_SHAPES = ((64, 80, 14, 14), (32, 1000, 14, 14), (32, 80, 56, 56))


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
    return f"| {' | '.join(cells)} |", ratio


def in_a_row(call: Callable[[], object], repeats: int) -> float:
    """Milliseconds a call."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats * 1e3


def compare_on_cuda(calls: tuple[Callable[[], object], Callable[[], object]], pairs: int) -> tuple[float, float, float]:
    """Milliseconds of both, and the median ratio."""
    for call in calls:
        in_a_row(call, 3)  # compiles, and fills the caches
    repeats = max(2, min(50, int(8 / max(in_a_row(call, 2) for call in calls))))
    times = [[in_a_row(call, repeats) for call in calls] for _ in range(pairs)]
    theirs, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return theirs, ours, statistics.median(a / b for a, b in times)


def captured(step: Callable[[], None], maps: Tensor) -> Callable[[], None]:
    """A step as a CUDA graph, whose replay takes the device's time and next to none of the host's."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    maps.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure_on_cuda(case: Case, maps: Tensor, pairs: int) -> tuple[str, tuple[float, float]]:
    """A row of the table, and the ratios as called and on the device."""
    gradient = torch.ones_like(case.ours(maps).detach())

    def step(pool: Pool) -> None:
        maps.grad = None
        pool(maps).backward(gradient)

    cells, ratios = [case.name, "x".join(map(str, maps.shape))], []
    calls = (lambda: step(case.theirs)), (lambda: step(case.ours))
    for both in (calls, tuple(captured(call, maps) for call in calls)):
        theirs, ours, ratio = compare_on_cuda(both, pairs)
        cells += [f"{theirs:.3f}", f"{ours:.3f}", f"{ratio:.2f}"]
        ratios.append(ratio)
    maps.grad = None
    cells += [error(case.theirs, maps), error(case.ours, maps)]
    return f"| {' | '.join(cells)} |", (ratios[0], ratios[1])


def main_on_cuda(pairs: int) -> int:
    started = time.perf_counter()
    generator = torch.Generator("cuda").manual_seed(0)
    working = ", ".join(kernels.working_triton_kernels(torch.empty(0, device="cuda").device)) or "none"
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, float32; Triton kernels: {working}\n")
    print(
        "| pooling | maps | theirs called, ms | ours called, ms | ratio | theirs on the device | ours on the device "
        "| ratio | their error (score / gradient) | our error |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    )
    lowest = []
    for shape in CUDA_SHAPES:
        maps = torch.randn(shape, device="cuda", generator=generator).requires_grad_()
        for case in (*selecting(shape[-1]), *smooth("cuda"), *windowed()):
            row, ratios = measure_on_cuda(case, maps, pairs)
            lowest.append((*ratios, case.name, shape))
            print(row, flush=True)
    for place, how in enumerate(("called", "on the device")):
        slowest = min(lowest, key=lambda row: row[place])
        print(f"\nlowest ratio {how}: {slowest[place]:.2f}, {slowest[2]} at {slowest[3]}", end="")
    print(f"\n{time.perf_counter() - started:.0f} s")
    return 0 if min(row[1] for row in lowest) >= 1 else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--classes", type=int, nargs="+", default=[80, 1000])
    parser.add_argument("--sides", type=int, nargs="+", default=[14, 28, 56])
    parser.add_argument("--quick", action="store_true", help="80 classes only, 3 pairs")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    args = parser.parse_args()
    if args.device == "cuda":
        return main_on_cuda(min(args.pairs, 5))
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    generator = torch.Generator().manual_seed(0)
    print(f"torch {torch.__version__}, {args.threads} threads, float32, {args.clock} clock\n")
    print(
        "| pooling | maps | theirs, ms | ours, ms | ratio | their error (score / gradient) | our error "
        "| their memory (peak / kept) | our memory |\n"
        "| --- | --- | ---: | ---: | ---: | --- | --- | --- | --- |"
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
