"""From image-level labels to boxes in a few minutes: train, localize, evaluate and draw, with every pooling.

The images are canvases of real handwriting (scans from scikit-learn), drawn on the spot: nothing is downloaded. A small
network is trained from scratch with one pooling, using only the names of the digits in each image, and heads with five
other poolings are trained on its features. Their boxes on canvases of other handwriting are then compared with the
ground truth.

    python demo/digits.py
    python demo/digits.py --out digits --seed 1
    python demo/digits.py --from-scratch          # a network for each pooling, which takes several times as long
"""

from __future__ import annotations

import argparse
import io
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Read when torch is loaded: threads that spin while they wait slow training down several times beside other programs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from canvases import SIDE, draw_canvases, read_scans, split_scans
from comparison import comparison_sheet
from outcomes import COLUMNS, FROM_SCRATCH, ON_ONE_NETWORK, Head, Outcome, console_line, results_table
from voc_set import write_voc

from wsl.config import (
    DataConfig,
    EvaluateConfig,
    LocalizeConfig,
    ModelConfig,
    OptimConfig,
    PickConfig,
    Preprocessing,
    RuntimeConfig,
    TrainConfig,
    VisualizeConfig,
)
from wsl.draw import save_image
from wsl.errors import RunError, UserError
from wsl.files import write_text
from wsl.training.features import FOLDER as FEATURES
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import run_localize
from wsl.verbs.train import train
from wsl.verbs.visualize import visualize

MARKER = ".made-by-digits-demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """The demo and its folder: ``canvases/``, a run folder for each head, ``results.md``, the comparison."""

    out: Path
    heads: tuple[Head, ...]
    seed: int
    images: int
    jobs: int

    @property
    def canvases(self) -> Path:
        """The folder of the data set."""
        return self.out / "canvases"

    @property
    def network(self) -> Head | None:
        """The head that trains the network of all the others; None if each trains its own."""
        training = [head for head in self.heads if not head.frozen]
        return training[0] if len(training) < len(self.heads) else None

    def run(self) -> None:
        """Run the demo, from drawing the data set to printing the paths of the results."""
        started = time.perf_counter()
        prepare_folder(self.out)
        held_out = max(20, self.images // 5)
        self._draw_canvases(held_out)
        print(f"{self.images} training canvases (labels only), {held_out} held-out ones: {self.canvases}\n", flush=True)
        outcomes: list[Outcome] = []
        for outcome in self._outcomes():
            if not outcomes:
                print(console_line("pooling", (*COLUMNS, "epochs", "seconds")))
            cells = (*outcome.figures, str(outcome.head.epochs), f"{outcome.seconds:.0f}")
            print(console_line(outcome.head.pooling, cells), flush=True)
            outcomes.append(outcome)
        print(console_line("centre / chance", outcomes[0].baselines))
        shutil.rmtree(self.out / FEATURES, ignore_errors=True)
        outcomes.sort(key=lambda outcome: self.heads.index(outcome.head))
        write_text(self.out / "results.md", results_table(outcomes))
        runs = {head.name: (self.out / head.name, head.threshold) for head in self.heads}
        save_image(self.out / "comparison.png", comparison_sheet(self.canvases, runs))
        report = self._write_report(self.out / self.heads[-1].name)
        print(f"\n{time.perf_counter() - started:.0f} s in all. Results:")
        print(f"  {self.out / 'comparison.png'}  one class on each canvas, with every pooling")
        print(f"  {self._sheet(self.heads[-1])}  all boxes of one head; each has one")
        print(f"  {self.out / 'results.md'}  the table")
        print(f"  {report}  the same as a page: open it in a browser and move the threshold")

    def run_head(self, head: Head) -> Outcome:
        """Train a head, draw its boxes on the held-out canvases, and evaluate it on them."""
        return self.measure(head, self.train_and_draw(head))

    def train_and_draw(self, head: Head) -> float:
        """Train a head and draw its boxes on the held-out canvases; returns the seconds of the training."""
        run, found = self.out / head.name, self.out / head.name / "found"
        config = self.training(head)
        torch.set_num_threads(self.jobs if head == self.network else 1)
        trained = train(config)
        torch.set_num_threads(1)
        run_localize(
            LocalizeConfig(
                sources=(str(self.canvases / "JPEGImages" / "val-*.jpg"),),
                weights=str(run),
                out=found,
                pick=PickConfig(top_k=None, score_threshold=0.5),
                boxes=head.boxes,
                maps=True,
                overwrite=True,
                runtime=config.runtime,
            )
        )
        visualize(
            VisualizeConfig(
                predictions=found,
                out=self._sheet(head).parent,
                data=DataConfig(data=self.canvases),
                images=False,
                columns=5,
                rows=4,
                limit=40,
            )
        )
        return trained.seconds

    def measure(self, head: Head, seconds: float) -> Outcome:
        """Evaluate a head, whose training took `seconds`, on the held-out canvases."""
        config = self.training(head)
        report = evaluate(
            EvaluateConfig(
                data=config.data,
                out=config.out / "val",
                weights=str(config.out),
                boxes=head.boxes,
                plots=head.name == self.heads[-1].name,
                runtime=config.runtime,
            )
        )
        return Outcome(head=head, report=report, seconds=seconds)

    def _sheet(self, head: Head) -> Path:
        return self.out / head.name / "pictures" / "sheet-001.png"

    def _write_report(self, run: Path) -> Path:
        """Write the report of one head's results, and return its path."""
        found = run / "found"
        config = VisualizeConfig(
            predictions=found, out=self.out, data=DataConfig(data=self.canvases), report=True, evaluation=run / "val"
        )
        return visualize(config).paths[0]

    def training(self, head: Head) -> TrainConfig:
        """The settings of one head's training."""
        network = self.network
        weights = str(self.out / network.name) if network is not None and head != network else "none"
        return TrainConfig(
            data=DataConfig(data=self.canvases, format="voc"),
            out=self.out / head.name,
            val_split=None,  # the held-out canvases do not influence the training
            model=ModelConfig(backbone="tinynet", weights=weights, pooling=head.pooling),
            preprocessing=Preprocessing(image_size=SIDE),
            optim=OptimConfig(
                epochs=head.epochs,
                batch_size=head.batch_size,
                lr=head.lr,
                backbone_lr_factor=1.0,  # because it is trained from scratch
                weight_decay=0.05,
                freeze_backbone=head.frozen,
                flip=False,  # a mirrored digit is not the same digit
            ),
            runtime=RuntimeConfig(device="cpu", workers=0),  # reproducible for a seed
            seed=self.seed,
        )

    def _draw_canvases(self, held_out: int) -> None:
        train_scans, test_scans = split_scans(read_scans(), self.seed)
        parts = (("train", train_scans, self.images), ("val", test_scans, held_out))
        for number, (split, scans, count) in enumerate(parts, 1):
            write_voc(self.canvases, split, draw_canvases(scans, count, (self.seed, number)), count)

    def _outcomes(self) -> Iterator[Outcome]:
        """The outcomes of the heads: first of those that train a network, then of those that read its features.

        A single network is trained with `jobs` threads. Everything else is computed `jobs` heads at a time, those that
        are trained the quickest first, with one thread each: nothing is lost to synchronisation.
        """
        network = self.network
        if network is not None:
            seconds = self.train_and_draw(network)
            print(f"{self._sheet(network)}  the first boxes, to look at meanwhile\n", flush=True)
            yield self.measure(network, seconds)
        ordered = sorted((head for head in self.heads if head != network), key=lambda head: head.epochs)
        if self.jobs == 1:
            yield from map(self.run_head, ordered)
            return
        # Spawned on all systems, because a fork would inherit torch's threads in an undefined state.
        with multiprocessing.get_context("spawn").Pool(min(self.jobs, len(ordered)), _start_worker) as pool:
            yield from pool.imap(self.run_head, ordered)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers
    signal.signal(signal.SIGTERM, _exit)
    sys.stderr = io.StringIO()  # several progress bars would overwrite each other


def _exit(signum: int, frame: Any) -> None:
    raise SystemExit(1)  # so that incomplete files are removed


def prepare_folder(out: Path) -> None:
    """Create the folder of the demo, and remove the results of an earlier demo in it.

    Raises:
        UserError: the path is a file, or a folder with other contents.
    """
    marker = out / MARKER
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: expected a folder for the demo, choose another --out")
    if out.is_dir() and any(out.iterdir()) and not marker.is_file():
        raise UserError(f"{out} holds files that this demo did not write: choose another --out, or empty it first")
    for name in ("canvases", FEATURES, *(head.name for head in ON_ONE_NETWORK)):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("results.md", "comparison.png", "report.html"):
        (out / name).unlink(missing_ok=True)
    write_text(marker, "demo/digits.py may empty this folder.\n")


def _cores() -> int:
    """The default number of jobs: one for each core, at most four, because each needs about a gigabyte of memory."""
    return min(4, os.cpu_count() or 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 for a user's mistake, 1 for a failed run, 130 for Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="output folder (default: demo/out)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed; the same one gives the same numbers (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, help="training epochs of every head (by default each has its own)")
    parser.add_argument("--images", type=int, default=2000, help="number of training canvases (default: %(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=_cores(),
        help="number of cores to use (default: %(default)s)",
    )
    parser.add_argument(
        "--from-scratch", action="store_true", help="train a network for each head, which takes several times as long"
    )
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        epochs = 1 if given.epochs is None else given.epochs
        if given.seed < 0 or min(epochs, given.images, given.jobs) < 1:
            raise UserError("--seed is at least 0, --epochs, --images and --jobs at least 1")
        heads = FROM_SCRATCH if given.from_scratch else ON_ONE_NETWORK
        heads = tuple(replace(head, epochs=given.epochs or head.epochs) for head in heads)
        Demo(out=given.out, heads=heads, seed=given.seed, images=given.images, jobs=given.jobs).run()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (RunError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the heads that were finished are kept until the demo is run again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _exit)  # otherwise the workers would continue on their own
    sys.exit(main())
