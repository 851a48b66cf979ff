"""ACoL's head through the commands: trained, killed and resumed, localized, evaluated, exported, described."""

import json

import pytest
import torch

from wsl import cli
from wsl.models import OnnxLocalizer, load
from wsl.verbs.info import model_info

HEAD = "acol(threshold=0.6, hidden=8)"


def command(world, out, *more):
    flags = ["--data", str(world), "--out", str(out), "--backbone", "tinynet", "--weights", "none", "--head", HEAD]
    flags += ["--epochs", "2", "--batch-size", "16", "--image-size", "32", "--workers", "0", "--device", "cpu"]
    return [*flags, "--precision", "fp32", *more]


@pytest.mark.parametrize("more", [(), ("--freeze-backbone",)], ids=["images", "features"])
@pytest.mark.quick("more", [("--freeze-backbone",)])
def test_it_trains_and_goes_on_to_the_same_bytes(world, tmp_path, more, interrupted):
    assert cli.train(command(world, tmp_path / "whole", *more)) == 0
    with interrupted(2):
        assert cli.train(command(world, tmp_path / "run", *more)) == 130
    assert cli.train(command(world, tmp_path / "run", *more, "--resume")) == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert models[0] == models[1]
    assert load(tmp_path / "run").recipe.head == HEAD


def test_a_run_localizes_and_is_evaluated(world, photos, tmp_path):
    run = tmp_path / "run"
    assert cli.train(command(world, run, "--epochs", "1")) == 0
    usual = ["--weights", str(run), "--device", "cpu", "--precision", "fp32"]
    assert cli.localize([str(photos / "val00.png"), *usual, "--out", str(tmp_path / "found"), "--heatmaps"]) == 0
    assert cli.evaluate([*usual, "--data", str(world), "--split", "val", "--out", str(tmp_path / "eval")]) == 0
    report = json.loads((tmp_path / "eval" / "evaluation.json").read_text(encoding="utf-8"))
    assert report["metrics"]["MaxBoxAccV2"]["value"] is not None
    info = model_info(str(run))
    assert (info.method, info.why) == (HEAD, "the higher of both classifiers' maps")


@pytest.mark.long
def test_a_run_is_exported(world, tmp_path):
    pytest.importorskip("onnxscript")
    run = tmp_path / "run"
    assert cli.train(command(world, run, "--epochs", "1")) == 0
    assert cli.export(["--format", "onnx", str(run), "--out", str(tmp_path / "a.onnx")]) == 0
    model, images = load(run), torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(OnnxLocalizer(tmp_path / "a.onnx")(images), tuple(model(images)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--loss", "bce + recam"], "reads the class maps of one classifier"),
        (["--head", "acol(threshhold=0.5)"], "did you mean 'threshold'"),
        (["--head", "akol"], "unknown head 'akol': did you mean 'acol'"),
        (["--freeze-backbone", "--optimizer", "lbfgs"], "expected a head of one convolution"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(world, tmp_path, capsys, flags, message):
    assert cli.train(command(world, tmp_path / "run", *flags)) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said
