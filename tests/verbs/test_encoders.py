"""Heads on encoders from the command line: trained, continued, cached, localized, measured, as any pooling."""

import json
from pathlib import Path

import pytest
import torch

from heads import MapClassifier
from wsl import cli
from wsl.config import DataConfig, ModelConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.errors import UserError
from wsl.models import load
from wsl.models.tiny import TinyNet
from wsl.training import learner as learner_module
from wsl.verbs.train import train

FLAGS = ["--backbone", "tinynet", "--weights", "none", "--image-size", "64", "--batch-size", "8", "--epochs", "8"]
FLAGS += ["--lr", "5e-3", "--backbone-lr-factor", "1", "--device", "cpu", "--precision", "fp32", "--workers", "0"]


pytestmark = pytest.mark.usefixtures("one_thread")


def settings(world: Path, out: Path, *, pooling="netvlad(clusters=4)", workers=0, resume=False, **optim) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(data=world),
        out=out,
        model=ModelConfig(backbone="tinynet", weights="none", pooling=pooling),
        preprocessing=Preprocessing(image_size=32),
        optim=OptimConfig(**{"epochs": 2, "batch_size": 16, "lr": 3e-3, "min_crop": 0.5, **optim}),
        runtime=RuntimeConfig(device="cpu", precision="fp32", workers=workers),
        resume=resume,
    )


@pytest.mark.parametrize(
    ("pooling", "neck"),
    [
        ("netvlad(clusters=4, ghosts=1)", []),
        pytest.param("compactbilinear(dim=512)", [], marks=pytest.mark.long),
        pytest.param("kmax(k=0.2)", ["--neck", "sppblock(kernels=(3,))"], marks=pytest.mark.long),
    ],
)
def test_the_whole_path_from_the_command_line(world, photos, tmp_path, capsys, pooling, neck):
    """Colours are learnt in 8 epochs of 48 pictures; about 4 s each."""
    run, found = str(tmp_path / "run"), str(tmp_path / "found")
    assert cli.train(["--data", str(world), "--out", run, "--pooling", pooling, *neck, *FLAGS]) == 0
    best = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert best["mAP"] > 0.9
    assert best["pointing"] > 0.8
    assert cli.localize([str(photos / "val*.png"), "--weights", run, "--out", found, "--maps", "--device", "cpu"]) == 0
    command = ["--predictions", found, "--data", str(world), "--split", "val", "--out", found]
    assert cli.evaluate(command) == 0
    assert "pointing" in capsys.readouterr().out
    model = load(run)
    assert model.recipe.pooling == pooling
    head = model.head if isinstance(model.head, MapClassifier) else model.head.classifier
    assert repr(head.neck) == (neck[1] if neck else "None")


@pytest.mark.parametrize(("freeze", "workers"), [pytest.param(False, 2, marks=pytest.mark.long), (True, 0)])
def test_a_run_killed_within_an_epoch_ends_in_the_same_weights(world, tmp_path, freeze, workers, interrupted, figures):
    options = {"freeze_backbone": freeze, "workers": workers}
    train(settings(world, tmp_path / "whole", **options))
    with interrupted(2), pytest.raises(KeyboardInterrupt):
        train(settings(world, tmp_path / "parts", **options))
    train(settings(world, tmp_path / "parts", resume=True, **options))
    assert figures(tmp_path / "whole") == figures(tmp_path / "parts")
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert models[0] == models[1]


@pytest.mark.parametrize("freeze", [False, True])
def test_centres_start_in_the_training_features(world, tmp_path, monkeypatch, freeze):
    """The backbone is left as it was, running statistics included, and the learning rate moves no centre far."""
    seen = []

    def watching(stepper, *args, **kwargs):
        weights = stepper.network.model.state_dict()
        seen.append({name: tensor.clone() for name, tensor in weights.items()})
        raise KeyboardInterrupt

    monkeypatch.setattr(learner_module, "run_epoch", watching)
    for name in "ab":
        with pytest.raises(KeyboardInterrupt):
            train(settings(world, tmp_path / name, freeze_backbone=freeze))
    before = {name.removeprefix("head."): tensor for name, tensor in seen[0].items()}
    assert before["classifier.encoder.initialised"]
    assert all(torch.equal(a, b) for a, b in zip(seen[0].values(), seen[1].values(), strict=True))
    lengths = before["classifier.encoder.centres"].norm(dim=1)
    assert (lengths <= 1).all()  # means of descriptors of length 1
    assert (before["classifier.encoder.centres"] >= 0).all()  # after a ReLU
    if not freeze:
        torch.manual_seed(0)
        for name, tensor in TinyNet().state_dict().items():
            assert torch.equal(seen[0][f"backbone.net.{name}"], tensor)


def test_too_few_descriptors_are_said(world, tmp_path):
    with pytest.raises(UserError, match=r"netvlad\(clusters=5000\) cannot start from the training images: 768 descr"):
        train(settings(world, tmp_path / "run", pooling="netvlad(clusters=5000)"))
