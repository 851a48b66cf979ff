"""How much memory a training step takes with and without --checkpointing, and how long it is.

    python tests/benchmarks/step_memory.py
    python tests/benchmarks/step_memory.py --backbone resnet50 --size 512 --batch 8

Each is measured in a process of its own: on the CPU the growth of its peak resident memory from the moment when the
network stands, on CUDA the peak of what torch has allocated.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch

from wsl.config import OptimConfig
from wsl.models import Localizer
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import create_objective
from wsl.training.optimizer import create_optimizer
from wsl.training.step import Stepper


def measure(args: argparse.Namespace) -> None:
    """Take some steps, and print gigabytes and seconds a step."""
    device, config = torch.device(args.device), OptimConfig()
    model = Localizer(args.backbone, 20, weights="none").to(device).train()
    network = TrainedNetwork(
        model, create_objective("bce"), torch.float32, features=False, checkpointing=args.checkpointing
    )
    stepper = Stepper(network, create_optimizer(model, config), config, device=device)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    targets = (torch.rand(args.batch, 20) < 0.1).float()
    example = Example(images, targets, torch.ones_like(targets), torch.arange(args.batch), args.batch)
    before, seconds = peak(device), []
    for step in range(args.steps):
        started = time.perf_counter()
        loss, _ = stepper(example, step, 0.0)
        loss.item()
        seconds.append(time.perf_counter() - started)
    print(f"{peak(device) - before:.3f} {statistics.median(seconds[1:] or seconds):.3f}")


def peak(device: torch.device) -> float:
    """The highest memory so far, in gigabytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure both, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpointing", action="store_true", help="measure this one alone")
    parser.add_argument("--alone", action="store_true", help="measure without it alone")
    args = parser.parse_args()
    if args.checkpointing or args.alone:
        measure(args)
        return
    found = []
    for flag in ("--alone", "--checkpointing"):
        output = subprocess.run([sys.executable, __file__, *sys.argv[1:], flag], check=True, capture_output=True)
        found.append([float(figure) for figure in output.stdout.split()])
    (whole, slow), (part, slower) = found
    print(
        f"{args.backbone} {args.size} px, batch {args.batch}, {args.device}: {whole:.2f} GB and {slow:.2f} s a step; "
        f"with --checkpointing {part:.2f} GB and {slower:.2f} s ({part / whole:.0%} of the memory, "
        f"{slower / slow:.2f} times as long)"
    )


if __name__ == "__main__":
    main()
