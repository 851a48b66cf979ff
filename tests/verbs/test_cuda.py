"""The commands on a GPU, where there is one: a run is trained, continued, given a decoder, evaluated and used."""

import json

import pytest
import torch

from wsl import cli
from wsl.formats import read_localizations
from wsl.models import load
from wsl.training import learner

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICE = "cuda"
DECODER = ["--decode", "--decoder-rounds", "2", "--decoder-epochs", "6", "--decoder-batch-size", "8"]


def command(world, out, *flags) -> list[str]:
    small = ["--data", str(world), "--out", str(out), "--image-size", "64", "--workers", "0"]
    return [*small, "--backbone", "tinynet", "--weights", "none", "--device", DEVICE, *flags]


def figures(run, world, out, *flags) -> dict[str, float]:
    given = ["--weights", str(run), "--data", str(world), "--out", str(out), *flags]
    assert cli.evaluate(given) == 0
    report = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return {key: report["metrics"][key]["value"] for key in ("mAP", "CorLoc", "AP50", "pointing (pairs)")}


def test_a_run_with_a_decoder(world, photos, tmp_path):
    """Its decoder is worth the same on both devices, and finds more than the maps that it was trained on."""
    run = tmp_path / "run"
    trained = ["--pooling", "lse(beta=2)", "--epochs", "12", "--batch-size", "8", "--lr", "3e-3"]
    assert cli.train(command(world, run, *trained, "--backbone-lr-factor", "1.0", *DECODER)) == 0
    found = {
        (device, refine): figures(
            run, world, tmp_path / device / refine, "--device", device, "--precision", "fp32", "--refine", refine
        )
        for device in (DEVICE, "cpu")
        for refine in ("none", "decoder")
    }
    assert found[DEVICE, "none"]["mAP"] > 0.9
    assert found[DEVICE, "decoder"]["CorLoc"] > found[DEVICE, "none"]["CorLoc"]
    for refine in ("none", "decoder"):
        assert found[DEVICE, refine] == pytest.approx(found["cpu", refine], abs=0.1)
    out = tmp_path / "found"
    assert cli.localize([str(photos), "--weights", str(run), "--out", str(out), "--device", DEVICE, "--maps"]) == 0
    assert len(list(read_localizations(out))) == 64


def test_a_head_that_is_fitted_at_once(world, tmp_path):
    """On one device and, in the same process, on another and on the first again."""
    weights = []
    for number, device in enumerate((DEVICE, "cpu", DEVICE)):
        run = tmp_path / str(number) / "run"
        fit = ["--freeze-backbone", "--optimizer", "lbfgs", "--probe", "--precision", "fp32", "--device", device]
        assert cli.train(command(world, run, *fit)) == 0
        weights.append(load(run).head.conv.weight.flatten())
    assert torch.nn.functional.cosine_similarity(weights[0], weights[1], dim=0) > 0.99
    torch.testing.assert_close(weights[0], weights[2])


def test_a_stopped_run_goes_on(world, tmp_path, monkeypatch):
    flags = ["--epochs", "2", "--batch-size", "16", "--min-crop", "0.5", *DECODER]
    whole = learner.run_epoch

    def stopped(*args, **settings):
        if settings["epoch"] == 2:
            raise KeyboardInterrupt
        return whole(*args, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(learner, "run_epoch", stopped)
        assert cli.train(command(world, tmp_path, *flags)) == 130
    assert cli.train(command(world, tmp_path, *flags, "--resume")) == 0
    assert len((tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert load(tmp_path).decodes


def test_the_same_seed_gives_the_same_weights(world, tmp_path):
    """Of cuDNN's kernels for float32 some add up in any order."""
    runs = [tmp_path / name / "run" for name in "ab"]
    for run in runs:
        flags = ["--epochs", "2", "--batch-size", "16", "--precision", "fp32", "--pooling", "lse(beta=2)", *DECODER]
        assert cli.train(command(world, run, *flags)) == 0
    assert len({(run / "model.safetensors").read_bytes() for run in runs}) == 1
