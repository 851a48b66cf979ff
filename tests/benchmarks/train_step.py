"""What the training loop adds to the bare forward, backward and step of the same network on the same batches.

    python tests/benchmarks/train_step.py --threads 1
    python tests/benchmarks/train_step.py --backbone resnet50 --size 224 --batch 64
    python tests/benchmarks/train_step.py --loss "bce + puzzle" --ema 0.999 --accumulate 2 --compile

Both take turns, A B A B, in one process; the medians are compared. Each takes 200 steps, 10 turns of 20 (as many as
the loop does between two looks at the losses). Further settings are the loop's alone. On a busy machine ``--clock cpu``
counts the time of this process alone (with one thread, or the waiting of the others is counted too).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from wsl.config import OptimConfig
from wsl.models import Localizer, autocast
from wsl.training.loop import Position, run_epoch
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import create_objective
from wsl.training.optimizer import create_optimizer
from wsl.training.step import Stepper

Batches = list[Example]


def learner(name: str, device: torch.device, config: OptimConfig) -> tuple[Localizer, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = Localizer(name, 20, weights="none").train().to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    return model, create_optimizer(model, config)


def bare(name: str, device: torch.device, dtype: torch.dtype) -> Callable[[Batches], None]:
    model, optimizer = learner(name, device, OptimConfig())

    def epoch(batches: Batches) -> None:
        for example in batches:
            with autocast(device, dtype):
                scores = model(example.inputs).scores
            loss = F.binary_cross_entropy_with_logits(scores.float(), example.targets.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return epoch


def ours(
    name: str, device: torch.device, dtype: torch.dtype, config: OptimConfig, compiled: bool
) -> Callable[[Batches], None]:
    model, optimizer = learner(name, device, config)
    objective = create_objective(config.loss, classes=20, channels=model.backbone.out_channels).to(device)
    network = TrainedNetwork(model, objective, dtype, features=False)
    if compiled:
        network.compile()
    stepper = Stepper(network, optimizer, config, dtype=dtype, device=device)

    def epoch(batches: Batches) -> None:
        run_epoch(
            stepper,
            batches,
            epoch=1,
            steps=len(batches),
            position=Position(),
            advance=lambda count=1, *, note=None: None,
        )

    return epoch


def seconds(work: Callable[[Batches], None], batches: Batches, device: torch.device, clock: str) -> float:
    read = time.process_time if clock == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = read()
    work(batches)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return read() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20, help="a turn")
    parser.add_argument("--turns", type=int, default=10, help="of each")
    parser.add_argument("--loss", default="bce")
    parser.add_argument("--ema", type=float)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = OptimConfig(loss=args.loss, ema=args.ema, accumulate=args.accumulate)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device).to(memory_format=torch.channels_last)
    targets = torch.randint(0, 2, (args.batch, 20)).float()
    example = Example(images, targets, torch.ones_like(targets), torch.arange(args.batch), args.batch)
    batches = [example] * args.steps
    for dtype in (torch.float32, torch.bfloat16):
        works = {
            "bare": bare(args.backbone, device, dtype),
            "ours": ours(args.backbone, device, dtype, config, args.compile),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(args.turns + 1):
            for name, work in works.items():
                taken = seconds(work, batches, device, args.clock)
                if turn:  # the first warms up
                    times[name].append(taken / args.steps)
        a, b = (statistics.median(times[name]) for name in ("bare", "ours"))
        pairs = statistics.median(y / x for x, y in zip(times["bare"], times["ours"], strict=True))
        print(
            f"{args.backbone} {args.size} px, batch {args.batch}, {device.type} {str(dtype).removeprefix('torch.')}: "
            f"bare {a * 1e3:.1f} ms, ours {b * 1e3:.1f} ms a step, ratio of medians {b / a:.3f}, of pairs {pairs:.3f}"
        )


if __name__ == "__main__":
    main()
