"""`wsl-train --optimizer lbfgs` and `--probe`: a head fitted at once, and a probe for a run's probabilities."""

import json
import math

import pytest
import torch
from torchvision import models as torchvision_models

from wsl import Predictor, cli
from wsl.config import DataConfig, ModelConfig, OptimConfig, Preprocessing, ProbeConfig, RuntimeConfig, TrainConfig
from wsl.errors import UserError
from wsl.models import load, open_model
from wsl.training import fitting
from wsl.verbs.train import train

MACHINE = ["--workers", "0", "--device", "cpu", "--precision", "fp32"]
FIT = ["--freeze-backbone", "--optimizer", "lbfgs"]
DECODER = ["--decode", "--decoder-rounds", "1", "--decoder-epochs", "1"]


pytestmark = pytest.mark.usefixtures("one_thread")


def command(world, out, *flags) -> list[str]:
    small = ["--data", str(world), "--out", str(out), "--image-size", "64", *MACHINE]
    return [*small, "--backbone", "tinynet", "--weights", "none", *flags]


def record(out) -> dict[str, float]:
    """The one line of ``metrics.jsonl``, without what a clock decides."""
    (line,) = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_second")}


def model_bytes(out) -> bytes:
    return (out / "model.safetensors").read_bytes()


def settings(world, out, **changes) -> TrainConfig:
    return TrainConfig(
        **{
            "data": DataConfig(data=world),
            "out": out,
            "model": ModelConfig(backbone="tinynet", weights="none"),
            "preprocessing": Preprocessing(image_size=64),
            "optim": OptimConfig(freeze_backbone=True, optimizer="lbfgs"),
            "runtime": RuntimeConfig(device="cpu", precision="fp32", workers=0),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def fitted(world, tmp_path_factory):
    """A run whose head was fitted at once."""
    out = tmp_path_factory.mktemp("fitted") / "run"
    assert cli.train(command(world, out, *FIT)) == 0
    return out


def test_one_fit_replaces_the_epochs(world, fitted, tmp_path):
    known = record(fitted)
    assert (known["epoch"], known["lr"], known["skipped"]) == (1, None, 0)
    assert known["loss"] < 0.5
    assert known["mAP"] > 0.8
    assert (fitted / "last" / "state.pt").is_file()
    again = tmp_path / "again"
    assert cli.train(command(world, again, *FIT)) == 0
    assert record(again) == known
    assert model_bytes(again) == model_bytes(fitted)
    assert cli.train(command(world, again, *FIT, "--resume")) == 0
    assert record(again) == known
    assert model_bytes(again) == model_bytes(fitted)
    other = tmp_path / "other"
    assert cli.train(command(world, other, *FIT, "--lbfgs-penalty", "2")) == 0
    weights = [load(out).head.conv.weight.abs().sum() for out in (fitted, other)]
    assert weights[1] < 0.5 * weights[0]


def test_a_run_stopped_before_it_was_fitted_ends_alike(world, fitted, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit_logistic", stop)
        with pytest.raises(KeyboardInterrupt):
            train(settings(world, out))
    assert not (out / "model.safetensors").exists()
    train(settings(world, out, resume=True))
    assert model_bytes(out) == model_bytes(fitted)


def test_a_probe_gives_the_probabilities_and_the_head_the_maps(world, fitted, photos, tmp_path, capsys):
    """At once, afterwards and once more with another penalty; with a decoder behind it too."""
    outs = {name: tmp_path / name for name in ("at once", "afterwards", "again")}
    assert cli.train(command(world, outs["at once"], *FIT, "--probe")) == 0
    assert "with the probe mAP" in capsys.readouterr().out
    for name in ("afterwards", "again"):
        assert cli.train(command(world, outs[name], *FIT)) == 0
        assert model_bytes(outs[name]) == model_bytes(fitted)
    assert cli.train(command(world, outs["again"], *FIT, "--probe", "--probe-penalty", "2")) == 2
    assert "--resume continues it" in capsys.readouterr().err
    assert cli.train(command(world, outs["again"], *FIT, "--resume", "--probe", "--probe-penalty", "2")) == 0
    assert model_bytes(outs["again"]) != model_bytes(outs["at once"])
    written = json.loads((outs["again"] / "config.json").read_text(encoding="utf-8"))
    assert written["probing"] == {"probe": True, "probe_penalty": 2.0}
    for name, penalty in (("afterwards", []), ("again", ["--probe-penalty", "0.02"])):  # which has another one by now
        assert cli.train(command(world, outs[name], *FIT, "--resume", "--probe", *penalty)) == 0
        assert model_bytes(outs[name]) == model_bytes(outs["at once"])
    assert all(record(out) == record(fitted) for out in outs.values())
    # Without the flag a run keeps the probe that it has.
    assert cli.train(command(world, outs["again"], *FIT, "--resume")) == 0
    assert model_bytes(outs["again"]) == model_bytes(outs["at once"])

    plain, probed = load(fitted), load(outs["at once"])
    assert probed.recipe.probe == 0
    path = sorted(photos.glob("val*"))[0]
    found, before = (
        Predictor(one, device="cpu", precision="fp32", refine="none", classes=one.classes)(path)
        for one in (probed, plain)
    )
    assert found.scores != before.scores
    assert all((found.maps[name] == before.maps[name]).all() for name in plain.classes)


def test_a_probe_of_a_head_trained_in_epochs(world, tmp_path):
    """The best epoch's head stays."""
    flags = ["--freeze-backbone", "--pooling", "lse(beta=2)", "--epochs", "3", "--lr", "0.1", "--batch-size", "8"]
    outs = [tmp_path / name for name in ("plain", "probed")]
    assert cli.train(command(world, outs[0], *flags)) == 0
    assert cli.train(command(world, outs[1], *flags, "--probe")) == 0
    before, after = (load(out).state_dict() for out in outs)
    assert {name for name in after if not name.startswith("probe.")} == set(before)
    assert all(after[name].equal(tensor) for name, tensor in before.items())


@pytest.mark.long
def test_with_posteriors_and_a_decoder_it_goes_through_all_commands(world, photos, tmp_path, capsys):
    torch.manual_seed(0)
    net = torchvision_models.resnet18(num_classes=9)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    outs = [tmp_path / name for name in ("at once", "afterwards")]
    common = ["--data", str(world), "--backbone", "resnet18", "--weights", str(tmp_path / "w.pth")]
    common += ["--image-size", "64", *MACHINE, *FIT, "--val-split", "None"]
    assert cli.train([*common, "--out", str(outs[0]), "--probe", *DECODER]) == 0
    assert cli.train([*common, "--out", str(outs[1]), *DECODER]) == 0
    assert cli.train([*common, "--out", str(outs[1]), "--resume", "--probe", *DECODER]) == 0
    assert model_bytes(outs[0]) == model_bytes(outs[1])
    model = load(outs[0])
    assert model.recipe.probe == 9
    assert torch.equal(model.probe.classifier.weight, net.fc.weight)
    assert model.decodes
    capsys.readouterr()
    assert cli.info([str(outs[0])]) == 0
    said = capsys.readouterr().out
    assert "linear probe of pooled features and 9 posteriors" in said
    assert "decoder (maps of" in said
    assert cli.evaluate(["--weights", str(outs[0]), "--data", str(world), "--out", str(tmp_path / "ev"), *MACHINE]) == 0
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert cli.export([str(outs[0]), "--format", "onnx", "--out", str(tmp_path / "model.onnx")]) == 0
    found, expected = (
        Predictor(one, device="cpu", precision="fp32", refine="none")(sorted(photos.glob("val*"))[0])
        for one in (load(outs[0]), open_model(str(tmp_path / "model.onnx")))
    )
    assert found.scores == pytest.approx(expected.scores, abs=1e-3)


def test_nothing_is_downloaded_for_a_probe(world, tmp_path, monkeypatch, caplog):
    """Weights of a run are no classifier, and none is looked for elsewhere."""
    first = tmp_path / "first"
    assert cli.train(command(world, first, "--epochs", "1")) == 0
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *args: pytest.fail("a download"))
    flags = command(world, tmp_path / "second", *FIT, "--probe")
    flags[flags.index("none")] = str(first)
    assert cli.train(flags) == 0
    assert load(tmp_path / "second").recipe.probe == 0
    assert "without posteriors" in caplog.text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([*FIT, "--pooling", "lse(beta=2)"], "expected --pooling gap, no neck and 1 map per class"),
        ([*FIT, "--pooling", "spp"], "expected --pooling gap"),
        ([*FIT, "--neck", "sppblock"], "no neck"),
        ([*FIT, "--maps-per-class", "2"], "1 map per class"),
        (["--probe"], "--probe is fitted to fixed features: expected --freeze-backbone"),
        (["--freeze-backbone", "--probe", "--loss", "cross-entropy"], "a probability of its own"),
    ],
)
def test_what_does_not_go_together_is_one_line(flags, said, world, tmp_path, capsys):
    assert cli.train(command(world, tmp_path / "run", *flags)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (OptimConfig, {"optimizer": "lbfgs"}, "expected --freeze-backbone"),
        (OptimConfig, {"optimizer": "lbfgs", "freeze_backbone": True, "loss": "soft-margin"}, "expected bce"),
        (OptimConfig, {"lbfgs_penalty": 0}, "lbfgs penalty is 0"),
        (ProbeConfig, {"probe_penalty": math.inf}, "probe penalty is inf"),
    ],
)
def test_settings_out_of_range(kind, wrong, said):
    with pytest.raises(UserError, match=said):
        kind(**wrong)


def test_a_finished_run_gets_a_probe_by_resuming(fitted, capsys):
    assert cli.train(["--decoder", str(fitted), "--probe"]) == 2
    assert "cannot be combined with settings of probing" in capsys.readouterr().err
