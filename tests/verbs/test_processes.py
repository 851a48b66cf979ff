"""A training of several processes is that of one, but for the order in which sums are taken."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wsl import cli

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

RANK = """
import hashlib, json, os, sys
import torch
from wsl import cli
from wsl.verbs import epochs

torch.set_num_threads(1)
learners = []
create = epochs.Learner

def remember(*args):
    learners.append(create(*args))
    return learners[-1]

epochs.Learner = remember
with open(sys.argv[1], encoding="utf-8") as file:
    for flags in json.load(file):
        assert cli.train(flags) == 0
with open(f"{sys.argv[1]}.{os.environ['RANK']}", "w", encoding="utf-8") as file:
    for learner in learners:
        weights = b"".join(p.detach().numpy().tobytes() for p in learner.model.parameters())
        print(hashlib.sha256(weights).hexdigest(), file=file)
"""

RUNS = {
    "all": ["--loss", "bce + equivariance", "--augment", "hide-and-seek(grid=(0, 8))", "cutmix", "--clip-norm", "1"],
    "rest": ["--epochs", "1", "--batch-size", "20", "--accumulate", "2", "--sampling", "balanced"],
    "still": ["--backbone-lr-factor", "0", "--ema", "0.9"],
    "kept": ["--freeze-backbone", "--class-weights", "balanced", "--optimizer", "sgd", "--probe"],
    "fitted": ["--freeze-backbone", "--optimizer", "lbfgs"],
}


def flags(data: Path, out: Path, *more: str) -> list[str]:
    every = ["--data", str(data), "--out", str(out), "--backbone", "tinynet", "--weights", "none", *more]
    usual = {"--epochs": "2", "--batch-size": "8", "--workers": "0", "--image-size": "32", "--min-crop": "0.5"}
    every += [part for flag, value in usual.items() if flag not in more for part in (flag, value)]
    return [*every, "--batch-norm", "frozen", "--device", "cpu", "--precision", "fp32"]


def launch(folder: Path, processes: int, runs: list[list[str]]) -> list[list[str]]:
    """Train in so many processes; what each says of the weights that it ends with."""
    script, file = folder / "rank.py", folder / f"runs{processes}.json"
    script.write_text(RANK, encoding="utf-8")
    file.write_text(json.dumps(runs), encoding="utf-8")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    ended = subprocess.run([*start, str(script), str(file)], capture_output=True, text=True, env=ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.count("best epoch") == len(runs)
    return [Path(f"{file}.{rank}").read_text(encoding="utf-8").split() for rank in range(processes)]


@pytest.fixture(scope="module")
def holes(world, tmp_path_factory) -> Path:
    """The same images without three of them: one process misses more than the other."""
    copy = tmp_path_factory.mktemp("holes") / "world"
    shutil.copytree(world, copy)
    for name in ("train03", "train20", "train40"):
        (copy / "JPEGImages" / f"{name}.png").write_bytes(b"not a picture")
    return copy


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch knows no other processes")
@pytest.mark.parametrize(
    ("processes", "names"),
    [
        (2, ("all",)),
        (2, ("fitted", "rest", "still", "kept")),
        (4, tuple(RUNS)),
    ],
)
@pytest.mark.quick("names", [("all",)])
def test_several_processes_train_what_one_does(holes, tmp_path, processes, names):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in names:
        assert cli.train(flags(holes, tmp_path / "one" / name, *RUNS[name])) == 0
    torch.set_num_threads(before)
    several = [flags(holes, tmp_path / "several" / name, *RUNS[name]) for name in names]
    ended = launch(tmp_path, processes, several)
    assert all(weights == ended[0] for weights in ended)
    for name in names:
        one, other = (tmp_path / folder / name for folder in ("one", "several"))
        torch.testing.assert_close(
            load_file(one / "model.safetensors"), load_file(other / "model.safetensors"), rtol=1e-3, atol=2e-5
        )
        lines = [(run / "metrics.jsonl").read_text(encoding="utf-8").splitlines() for run in (one, other)]
        for mine, theirs in zip(*(list(map(json.loads, some)) for some in lines), strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4), name
            assert mine["mAP"] == pytest.approx(theirs["mAP"], abs=1e-6), name
            assert mine["pointing"] == theirs["pointing"], name


STOPPED = """
import json, os, signal, sys
import torch
from wsl import cli
from wsl.training import learner

torch.set_num_threads(1)
whole, (first, second) = learner.run_epoch, json.load(open(sys.argv[1], encoding="utf-8"))

def run_epoch(stepper, batches, **kwargs):
    def fetched():
        for place, batch in enumerate(batches):
            if (kwargs["epoch"], place) == (2, 1) and os.environ["RANK"] == "1":
                signal.raise_signal(signal.SIGTERM)
            yield batch

    return whole(stepper, fetched(), **kwargs)

assert cli.train(first) == 0
learner.run_epoch = run_epoch
assert cli.train(second) == 143
learner.run_epoch = whole
assert cli.train([*second, "--resume"]) == 0
"""


@pytest.mark.long
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch knows no other processes")
def test_one_process_that_is_told_to_end_ends_all_behind_the_same_step_and_they_go_on(world, tmp_path):
    runs = [flags(world, tmp_path / name, *RUNS["all"]) for name in ("whole", "parts")]
    script, file = tmp_path / "stopped.py", tmp_path / "runs.json"
    script.write_text(STOPPED, encoding="utf-8")
    file.write_text(json.dumps(runs), encoding="utf-8")
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run([*start, str(script), str(file)], capture_output=True, text=True, env=ENVIRONMENT)
    assert ended.returncode == 0, ended.stderr[-3000:]
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert one == other
