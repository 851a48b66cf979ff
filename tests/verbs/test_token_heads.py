"""The heads of TS-CAM and SCM through the commands: trained, resumed, on cached features, localized, described."""

import dataclasses
import json

import pytest
import torch

from wsl import cli
from wsl.config import DataConfig, ModelConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.inference import Predictor
from wsl.models import Localizer, OnnxLocalizer, export_model, load
from wsl.verbs.info import info, model_info
from wsl.verbs.train import train

timm = pytest.importorskip("timm")

NAME = "timm/vit_tiny_patch16_224"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "reg_tokens": 2}


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch, one_thread):
    """timm's networks by the same name, of two blocks."""
    create = timm.create_model

    def create_small(name, pretrained=False, **options):
        return create(name, **SMALL, **options)

    monkeypatch.setattr(timm, "create_model", create_small)


def settings(world, out, head="ts-cam", *, resume=False, **optim):
    return TrainConfig(
        data=DataConfig(data=world),
        out=out,
        model=ModelConfig(backbone=NAME, weights="none", head=head),
        preprocessing=Preprocessing(image_size=32),
        optim=OptimConfig(**{"epochs": 2, "batch_size": 16, "lr": 3e-3, **optim}),
        runtime=RuntimeConfig(device="cpu", precision="fp32", workers=0),
        resume=resume,
    )


@pytest.mark.parametrize("head", ["ts-cam", "scm"])
@pytest.mark.quick("head", ["ts-cam"])
def test_it_trains_resumes_and_localizes(world, photos, tmp_path, head, interrupted):
    train(settings(world, tmp_path / "whole", head))
    with interrupted(2), pytest.raises(KeyboardInterrupt):
        train(settings(world, tmp_path / "run", head))
    train(settings(world, tmp_path / "run", head, resume=True))
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert models[0] == models[1]

    run, image = tmp_path / "run", str(photos / "val00.png")
    model = load(run)
    assert model.recipe.head == head
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["model"]["head"] == head
    command = [image, "--weights", str(run), "--out", str(tmp_path / "found"), "--maps", "--device", "cpu"]
    assert cli.localize([*command, "--precision", "fp32", "--top-k", "2"]) == 0
    found = Predictor(model, device="cpu", precision="fp32", top_k=2)(image)
    ready = model.for_inference(torch.device("cpu"), torch.float32)
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ready(images).maps_of(torch.tensor([[0, 1]])), model(images).maps)
    assert all(score_map.shape == (4, 4) for score_map in found.maps.values())
    assert model_info(str(run)).method == head


def test_a_frozen_backbone_trains_on_cached_features_and_is_looked_at_afterwards(world, photos, tmp_path):
    result = train(settings(world, tmp_path / "run", freeze_backbone=True))
    assert result.pointing is not None
    model, images = load(tmp_path / "run"), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        maps, semantic = model(images).maps, model.head(model.backbone(images)).maps
    assert (maps / semantic).std() > 0


def test_attention_can_calibrate_on_a_backbone_that_learns_nothing(world, tmp_path):
    result = train(settings(world, tmp_path / "run", "scm", backbone_lr_factor=0.0))
    assert result.model.is_file()


def test_weights_without_a_classifier_say_what_to_do_and_doing_it_works(world, photos, tmp_path, capsys):
    name, run = "timm/vit_small_patch14_reg4_dinov2", str(tmp_path / "run")
    found = [str(photos / "val00.png"), "--out", str(tmp_path / "found"), "--device", "cpu"]
    assert cli.localize([*found, "--weights", name]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{name} has no classifier, its weights give features: train a head" in said
    command = said.partition("with wsl-train ")[2].partition(", then")[0]
    assert command == f"--data DATA --out RUN --backbone {name} --freeze-backbone --head ts-cam"
    flags = [{"DATA": str(world), "RUN": run}.get(word, word) for word in command.split()]
    flags += ["--weights", "none", "--image-size", "32", "--epochs", "1", "--device", "cpu", "--workers", "0"]
    assert cli.train(flags) == 0
    assert cli.localize([*found, "--weights", run]) == 0
    assert load(run).backbone.prefix == 3


def test_any_head_trains_on_weights_without_a_classifier(world, tmp_path):
    config = settings(world, tmp_path / "run", None, epochs=1)
    model = dataclasses.replace(config.model, backbone="timm/vit_small_patch14_reg4_dinov2")
    assert train(dataclasses.replace(config, model=model)).model.is_file()


@pytest.mark.long
@pytest.mark.parametrize("head", ["ts-cam", None])
def test_a_model_is_exported_for_its_size(tmp_path, caplog, head):
    pytest.importorskip("onnxscript")
    size = Preprocessing(image_size=32)
    model = Localizer(NAME, classes=["a", "b"], head=head, weights="none", preprocessing=size).eval()
    assert export_model(model, tmp_path / "a.onnx", "onnx") < 1e-4
    assert "cannot be exported for every image size: exporting it for 32 x 32" in caplog.text
    found, images = OnnxLocalizer(tmp_path / "a.onnx"), torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(found(images), tuple(model(images)), rtol=1e-4, atol=1e-5)
    assert found.grid((32, 32)) == model.grid((32, 32))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backbone", "tinynet", "--head", "ts-cam"], "tinynet has no class token: expected a vision transformer"),
        (["--backbone", NAME, "--head", "scm", "--freeze-backbone"], "expected head ts-cam, or --backbone-lr"),
        (["--backbone", NAME, "--head", "tscam"], "ts-cam"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(world, tmp_path, capsys, flags, message):
    command = ["--data", str(world), "--out", str(tmp_path / "run"), "--weights", "none", "--device", "cpu"]
    assert cli.train([*command, *flags]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_help_and_the_list_of_names_say_them(capsys):
    with pytest.raises(SystemExit):
        cli.train(["--help"])
    assert "--head" in capsys.readouterr().out
    assert info().heads == ("ts-cam", "scm", "acol")
