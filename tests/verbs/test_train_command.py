"""`wsl-train` as processes see it: exit codes, signals, a disk that is full, several processes at once."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import wsl
from wsl import cli
from wsl.config import TrainConfig
from wsl.config.keywords import by_keywords
from wsl.errors import RunError, UserError
from wsl.models import Localizer, load, save
from wsl.models.tiny import TinyNet
from wsl.training import learner, run_folder
from wsl.verbs.train import ALSO

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(world: Path, out: Path, *more: str) -> list[str]:
    """The flags of a small run."""
    flags = ["--data", str(world), "--out", str(out), "--backbone", "tinynet", "--weights", "none", *more]
    for flag, value in (("--epochs", 1), ("--batch-size", 16), ("--workers", 0), ("--image-size", 32)):
        flags += [] if flag in more else [flag, str(value)]
    return [*flags, "--device", "cpu", "--precision", "fp32"]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_resumed_in_python_with_its_own_settings(world, tmp_path):
    out = tmp_path / "run"
    assert cli.train(command(world, out, "--pooling", "gmp")) == 0
    assert wsl.train(out=out, resume=True, epochs=2).best_epoch in (1, 2)
    assert len((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert load(out).recipe.pooling == "gmp"
    with pytest.raises(UserError, match=r"--resume with --pooling gap: .* began with gmp"):
        wsl.train(out=out, resume=True, pooling="gap")
    with pytest.raises(UserError, match="no run to resume in"):
        wsl.train(out=tmp_path / "other", resume=True)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped"),
        (RunError("the loss is nan"), 1, "failed: the loss is nan"),
        (OSError(28, "No space left on device"), 1, "no space left"),
    ],
)
def test_exit_codes(world, tmp_path, monkeypatch, capsys, error, code, line):
    def ending(*args, **kwargs):
        raise error

    monkeypatch.setattr(learner, "run_epoch", ending)
    assert cli.train(command(world, tmp_path / "run")) == code
    assert line in capsys.readouterr().err


def test_a_run_that_failed_is_resumed_or_replaced_when_asked(world, tmp_path, monkeypatch, capsys):
    def ending(*args, **kwargs):
        raise RunError("the loss is nan")

    flags = command(world, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(learner, "run_epoch", ending)
        assert cli.train(flags) == 1
    assert cli.train([*flags, "--resume"]) == 0
    capsys.readouterr()
    assert cli.train(flags) == 2
    assert "--resume" in capsys.readouterr().err
    assert cli.train([*flags, "--overwrite"]) == 0


def test_classes_of_the_two_splits_must_agree(tmp_path, capsys):
    for split, label in (("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "cow")):
        (tmp_path / "data" / split / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / split / label / "a.png"), np.zeros((20, 20, 3), np.uint8))
    assert cli.train(command(tmp_path / "data", tmp_path / "run")) == 2
    assert "'cow'" in capsys.readouterr().err


def test_several_poolings_are_a_run_each_and_share_the_features(world, tmp_path, monkeypatch, capsys, caplog):
    seen = []
    forward = TinyNet.forward
    monkeypatch.setattr(TinyNet, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    more = ["--freeze-backbone", "--pooling", "gap", "kmax(k=0.2)", "gap"]
    with caplog.at_level(logging.INFO, logger="wsl"):
        assert cli.train([*command(world, tmp_path / "runs", *more), "--json"]) == 0
    assert [line for line in caplog.messages if " of 2)" in line] == ["gap (1 of 2)", "kmax(k=0.2) (2 of 2)"]
    found = json.loads(capsys.readouterr().out)["runs"]
    assert [load(run["model"]).recipe.pooling for run in found] == ["gap", "kmax(k=0.2)"]
    assert [Path(run["model"]).parent.name for run in found] == ["gap", "kmax(k=0.2)"]
    assert sum(size for size in seen if size > 1) == 48 * 2 + 16


def test_resuming_several_poolings_starts_those_that_were_not_begun(world, tmp_path, monkeypatch, capsys):
    runs = tmp_path / "runs"

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder.RunFolder, "describe", stop)
        assert cli.train(command(world, runs, "--freeze-backbone", "--pooling", "gap", "kmax(k=0.2)", "gmp")) == 130
    assert not (runs / "gmp").exists()
    capsys.readouterr()
    assert cli.train(["--out", str(runs), "--resume", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    assert [load(run["model"]).recipe.pooling for run in found] == ["gap", "kmax(k=0.2)", "gmp"]
    assert cli.train(command(world, tmp_path / "none", "--pooling", "gap", "gmp", "--resume")) == 2
    assert "no run to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss", "bcee"], "did you mean 'bce'"),
        (["--augment", "cutmix", "cutmx"], "did you mean 'cutmix'"),
        (["--neck", "spblock"], "did you mean 'sppblock'"),
    ],
)
def test_a_misspelt_spec_is_refused_before_weights_are_fetched(world, tmp_path, capsys, monkeypatch, flags, message):
    monkeypatch.setattr("wsl.models.localizer.create_backbone", lambda *_: pytest.fail("weights would be downloaded"))
    for more in ([], ["--find-lr"]):
        assert cli.train(command(world, tmp_path / "run", *flags, *more)) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()


def test_several_poolings_are_checked_before_the_first_is_trained(world, tmp_path, capsys):
    assert cli.train(command(world, tmp_path / "runs", "--pooling", "gap", "gpm")) == 2
    assert "did you mean 'gmp'?" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    (tmp_path / "runs" / "gmp").mkdir(parents=True)
    (tmp_path / "runs" / "gmp" / "config.json").write_text("{}", encoding="utf-8")
    assert cli.train(command(world, tmp_path / "runs", "--pooling", "gap", "gmp")) == 2
    assert "gmp holds a run" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "gap").exists()


def test_a_run_goes_on_from_another_with_its_settings(world, tmp_path, capsys):
    usual = ["--data", str(world), "--workers", "0", "--device", "cpu", "--precision", "fp32", "--epochs", "1"]
    first = ["--backbone", "tinynet", "--weights", "none", "--pooling", "kmax(k=0.2)", "--image-size", "32"]
    assert cli.train([*usual, "--out", str(tmp_path / "first"), *first]) == 0
    going_on = [*usual, "--from", str(tmp_path / "first")]
    assert cli.train([*going_on, "--out", str(tmp_path / "again"), "--lr", "1e-12"]) == 0
    one, other = (load(tmp_path / name) for name in ("first", "again"))
    assert one.recipe == other.recipe
    torch.testing.assert_close(dict(one.named_parameters()), dict(other.named_parameters()))
    assert cli.train([*going_on, "--out", str(tmp_path / "other"), "--pooling", "gmp"]) == 0
    assert load(tmp_path / "other").recipe.pooling == "gmp"
    same = {"workers": 0, "device": "cpu", "precision": "fp32", "epochs": 1, "from_": tmp_path / "first"}
    wsl.train(world, out=tmp_path / "python", pooling="gmp", **same)
    written = [json.loads((tmp_path / name / "config.json").read_text("utf-8")) for name in ("python", "other")]
    assert {**written[0], "out": None} == {**written[1], "out": None}
    mistakes = (([*usual, "--from", "lost"], "no model at lost"), ([*going_on, "--weights", "none"], "gives others"))
    for mistake, said in mistakes:
        assert cli.train([*mistake, "--out", str(tmp_path / "never")]) == 2
        assert said in capsys.readouterr().err


def test_keywords_of_a_training_override_a_file_and_a_run(world, tmp_path):
    file = tmp_path / "some.json"
    file.write_text(json.dumps({"optim": {"epochs": 1, "lr": 0.5}, "seed": 3, "model": {"neck": None}}), "utf-8")
    save(Localizer("tinynet", classes=["a"], weights="none", pooling="gmp"), tmp_path / "first" / "model.safetensors")
    taken = []
    read = by_keywords(TrainConfig, "data", also=ALSO)(taken.append)
    read("photos", out="o", config=file, from_=tmp_path / "first", lr=0.25)
    (config,) = taken
    assert (config.optim.epochs, config.optim.lr, config.seed) == (1, 0.25, 3)
    assert (config.model.pooling, config.model.weights) == ("gmp", str(tmp_path / "first"))
    for given, said in (
        ({"from": "first"}, "did you mean 'from_'"),
        ({"cnfig": file}, "did you mean 'config'"),
        ({"from_": tmp_path / "first", "weights": "none"}, "--from uses the weights of a run"),
        ({"config": tmp_path / "lost.json"}, "lost.json"),
    ):
        with pytest.raises(UserError, match=said):
            wsl.train("photos", out=tmp_path / "o", **given)


@pytest.mark.long
def test_checkpointing_gives_the_same_model(world, tmp_path):
    for name, more in (("plain", ()), ("parts", ("--checkpointing",))):
        assert cli.train(command(world, tmp_path / name, *more)) == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "parts")]
    assert models[0] == models[1]


def test_tensorboard_missing_is_told_before_anything_is_computed(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert cli.train(command(world, tmp_path / "run", "--tensorboard")) == 2
    assert "tensorboard extra" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("workers", ["2", pytest.param("0", marks=pytest.mark.long)])
def test_ctrl_c_leaves_a_run_that_can_be_continued(world, tmp_path, workers, heed_ctrl_c):
    flags = command(world, tmp_path, "--epochs", "999", "--val-split", "None", "--workers", workers)
    code = "import sys, wsl.cli; sys.exit(wsl.cli.train(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, *flags],
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    ) as process:
        assert process.stderr is not None
        told = []
        while not (told and told[-1].startswith("epoch 2/")):
            told.append(process.stderr.readline())
            assert told[-1], "".join(told)  # it ended before its second epoch
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        rest = process.communicate()[1]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert torch.load(tmp_path / "last" / "state.pt", weights_only=True)["epoch"] >= 2
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes")
@pytest.mark.parametrize("freeze", [False, True])
def test_a_disk_that_takes_no_more_ends_in_a_line(world, tmp_path, freeze):
    """The system itself refuses to write on, as a full disk does."""
    run = tmp_path / "run"
    more = ["--freeze-backbone"] if freeze else []
    assert cli.train(command(world, run, *more)) == 0
    shutil.rmtree(tmp_path / ".features", ignore_errors=True)
    before = contents(run)
    code = (
        "import resource, signal, sys, wsl.cli; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); sys.exit(wsl.cli.train(sys.argv[1:]))"
    )
    flags = command(world, tmp_path / "new", *more)
    ended = subprocess.run([sys.executable, "-c", code, *flags], capture_output=True, text=True, env=ENVIRONMENT)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("failed: ")
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]
    assert contents(run) == before
