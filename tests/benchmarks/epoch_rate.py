"""How much of the bare network's rate a training keeps when it reads photographs.

    python tests/benchmarks/epoch_rate.py PHOTOS --backbone resnet18 --size 224 --batch 16 --images 640
    python tests/benchmarks/epoch_rate.py PHOTOS --backbone resnet50 --size 224 --batch 64 --images 12800

"random tensors" are epochs of the training loop on batches that are on the device already: no files, no decoding, no
transfer. The other rows decode, crop, mirror, resize, transfer and normalise, without a cache and with one that the
first epoch has filled. Each row is one run of consecutive epochs, one row after the other, because workers decode the
first batches of the next epoch ahead. Not timed are the first epoch, which starts the workers, and the last, for which
nothing is left to decode ahead. Rates are medians over the timed epochs, shares are ratios of these medians. The
photographs are used again and again under other names until there are enough.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from wsl.config import DataConfig, ModelConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.images import find_images
from wsl.models import Localizer, choose_dtype
from wsl.samples import Sample, SampleSet
from wsl.training.loop import Position, run_epoch
from wsl.training.network import Example, TrainedNetwork
from wsl.training.objectives import create_objective
from wsl.training.optimizer import create_optimizer
from wsl.training.order import Order, Shard
from wsl.training.sources import ImageSource
from wsl.training.step import Stepper

CLASSES = [f"class {number}" for number in range(20)]


def photographs(folder: Path, count: int, links: Path) -> SampleSet:
    """So many samples of the photographs, each a link of its own, with a class each."""
    found = list(find_images([folder]))
    samples = []
    for number in range(count):
        path = links / f"{number}.jpg"
        path.symlink_to(found[number % len(found)].resolve())
        samples.append(Sample(path=str(path), labels=[CLASSES[number % len(CLASSES)]]))
    return SampleSet(classes=CLASSES, samples=samples)


def trained(args: argparse.Namespace, device: torch.device, config: TrainConfig) -> tuple[Localizer, Stepper]:
    """A model and what trains it, as the training loop makes them."""
    torch.manual_seed(0)
    model = Localizer(args.backbone, classes=CLASSES, weights="none", preprocessing=config.preprocessing)
    model.train().to(device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)
    dtype = choose_dtype(args.precision, device)
    objective = create_objective("bce", classes=len(CLASSES), channels=model.backbone.out_channels).to(device)
    network = TrainedNetwork(model, objective, dtype, features=False)
    return model, Stepper(network, create_optimizer(model, config.optim), config.optim, dtype=dtype, device=device)


def epoch_seconds(batches: Callable[[int], Iterable[Example]], args: argparse.Namespace, stepper: Stepper) -> float:
    """Train for all epochs, and return the median time of those between the first and the last."""
    seconds = []
    for number in range(1, args.rounds + 3):
        started = time.perf_counter()
        run_epoch(
            stepper,
            batches(number),
            epoch=number,
            steps=args.images // args.batch,
            position=Position(),
            advance=lambda count=1, *, note=None: None,
        )
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:-1])


def main() -> None:
    """Print the rates of a training from random tensors, files and a cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=640, help="an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs")
    parser.add_argument("--workers", type=int, help="default: the cores")
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    args.images -= args.images % args.batch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        samples = photographs(args.photographs, args.images, Path(folder))

        def settings(cache: str) -> TrainConfig:
            return TrainConfig(
                data=DataConfig(data=args.photographs),
                out=Path(folder, "run"),
                model=ModelConfig(backbone=args.backbone, weights="none"),
                preprocessing=Preprocessing(image_size=args.size),
                optim=OptimConfig(batch_size=args.batch, min_crop=0.6, epochs=args.rounds + 2),
                runtime=RuntimeConfig(workers=args.workers),
                cache=cache,
            )

        model, stepper = trained(args, device, settings("none"))
        order = Order(len(samples), args.batch, 0, Shard(0, 1))
        sources = {
            name: ImageSource(model, samples, None, settings(cache), device, order)
            for name, cache in (("photographs", "none"), ("--cache ram", "ram"))
        }
        inputs = torch.randn(args.batch, 3, args.size, args.size, device=device)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        targets = torch.zeros(args.batch, len(CLASSES))
        example = Example(inputs, targets, torch.ones_like(targets), torch.arange(args.batch), args.batch)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        print(
            f"{args.backbone} {args.size} px, batch {args.batch}, {choose_dtype(args.precision, device)}, "
            f"{args.images} images an epoch, {name}, {cores} cores, torch {torch.__version__}"
        )
        bare = epoch_seconds(lambda _: [example] * (args.images // args.batch), args, stepper)
        print(f"{'random tensors':16} {args.images / bare:8.1f} images/s  100.0%", flush=True)
        for name, source in sources.items():
            spent = epoch_seconds(source.batches, args, stepper)
            print(f"{name:16} {args.images / spent:8.1f} images/s  {bare / spent:6.1%}", flush=True)


if __name__ == "__main__":
    main()
