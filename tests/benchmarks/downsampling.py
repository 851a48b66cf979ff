"""Windowed poolings against what people write: forward and backward, ratios of pairs that run in turn.

    python tests/benchmarks/downsampling.py

Time is measured on the CPU, and on the GPU where there is one. On a busy machine ``--clock cpu`` counts the time of
this process alone (with ``--threads 1``, or the waiting of the others is counted too). The error is the largest
difference to float64, of the result and of the gradient, relative to the largest value.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from heads.downsampling import softpool2d, stochasticpool2d

Pool = Callable[[Tensor], Tensor]


def exponentials(maps: Tensor, kernel: int, stride: int) -> Tensor:
    """SoftPool as it is copied: of averages, which overflows from 89 on."""
    weights = torch.exp(maps)
    return F.avg_pool2d(weights * maps, kernel, stride) / F.avg_pool2d(weights, kernel, stride)


def multinomial(maps: Tensor, kernel: int, stride: int) -> Tensor:
    """Stochastic pooling of unfolded windows."""
    count, channels, height, _ = maps.shape
    windows = F.unfold(maps, kernel, stride=stride).reshape(count, channels, kernel * kernel, -1).transpose(2, 3)
    flat = windows.reshape(-1, kernel * kernel)
    chosen = torch.multinomial(flat.detach() + 1e-12, 1)  # a window of zeros has no distribution
    return flat.gather(1, chosen).reshape(count, channels, (height - kernel) // stride + 1, -1)


def seconds(pool: Pool, maps: Tensor, gradient: Tensor, clock: str) -> float:
    read = time.process_time if clock == "cpu" else time.perf_counter
    maps.grad = None
    if maps.is_cuda:
        torch.cuda.synchronize()
    started = read()
    pool(maps).backward(gradient)
    if maps.is_cuda:
        torch.cuda.synchronize()
    return read() - started


def error(pool: Pool, maps: Tensor) -> str:
    """Of the result and of the gradient, against ours in float64 (which the tests hold against plain Python)."""
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = maps.detach()[:2].to(dtype).requires_grad_()
        result = pool(leaf)
        weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).to(leaf)
        result.backward(weights)
        found.append((result.detach().double(), leaf.grad.double()))
    parts = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*found, strict=True)]
    return " ".join(f"{part:.0e}" for part in parts)


def compare(name: str, plain: Pool, ours: Pool, maps: Tensor, args: argparse.Namespace, *, exact: bool) -> None:
    maps.requires_grad_()
    gradient = torch.randn_like(ours(maps).detach())
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for turn in range(args.turns + 1):
        for which, pool in (("plain", plain), ("ours", ours)):
            taken = seconds(pool, maps, gradient, args.clock)
            if turn:  # the first warms up
                times[which].append(taken)
    a, b = (statistics.median(times[which]) for which in ("plain", "ours"))
    pairs = statistics.median(x / y for x, y in zip(times["plain"], times["ours"], strict=True))
    errors = f"{error(plain, maps)} | {error(ours, maps)}" if exact else "drawn | drawn"
    print(f"| {name} | {a * 1e3:.0f} ms | {b * 1e3:.0f} ms | {pairs:.1f} | {errors} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = (args.batch, args.channels, args.size, args.size)
    print(f"{shape} float32, {device}, {args.threads} threads\n")
    print("| pooling | plain | ours | ratio | error of plain: result, gradient | error of ours |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    maps = torch.randn(shape, device=device)
    wide = maps.clone()
    wide[:, :, ::2, ::2] *= 20  # values from -100 to 100: each window with a maximum of its own
    layouts = [("", maps), (", channels last", maps.to(memory_format=torch.channels_last)), (", wide range", wide)]
    for layout, values in layouts:
        for kernel in (3, 2):
            compare(
                f"SoftPool {kernel}x{kernel} s2{layout}",
                lambda x, kernel=kernel: exponentials(x, kernel, 2),
                lambda x, kernel=kernel: softpool2d(x, kernel, 2),
                values.detach().clone(),
                args,
                exact=True,
            )
    for kernel in (3, 2):
        compare(
            f"stochastic {kernel}x{kernel} s2",
            lambda x, kernel=kernel: multinomial(x, kernel, 2),
            lambda x, kernel=kernel: stochasticpool2d(x, kernel, 2, training=True),
            maps.relu(),
            args,
            exact=False,
        )


if __name__ == "__main__":
    main()
