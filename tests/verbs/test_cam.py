"""`--cam`, `--layers` and `--model` of the commands, and `wsl-info MODEL`."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from wsl import cli
from wsl.formats import read_localizations
from wsl.models import Localizer


def localize(photos, weights, out, *flags) -> int:
    given = [str(photos / "val0*.png"), "--weights", str(weights), "--out", str(out), "--workers", "0"]
    return cli.localize([*given, "--device", "cpu", "--precision", "fp32", "--refine", "none", *flags])


def test_a_run_shows_maps_by_a_method(run, photos, tmp_path, capsys):
    assert localize(photos, run, tmp_path, "--cam", "gradcam(relu=false)", "--maps") == 0
    assert "maps by gradcam of backbone, not refined" not in capsys.readouterr().out  # its name says its arguments
    record = json.loads((tmp_path / "localize.json").read_text(encoding="utf-8"))
    assert record["cam"] == {"cam": "gradcam(relu=false)", "layers": [], "model": None}
    (tmp_path / "own").mkdir()
    assert localize(photos, run, tmp_path / "own", "--maps") == 0
    for one, own in zip(read_localizations(tmp_path), read_localizations(tmp_path / "own"), strict=True):
        assert one.scores == pytest.approx(own.scores, abs=1e-5)
        for label, score_map in own.maps.items():
            assert np.corrcoef(one.maps[label].ravel(), score_map.ravel())[0, 1] > 0.9


def test_the_last_lines_say_how_maps_were_made(run, photos, tmp_path, capsys):
    assert localize(photos, run, tmp_path, "--cam", "layercam", "--layers", "backbone.net.6", "backbone") == 0
    assert "maps by layercam of backbone.net.6, backbone, not refined" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cam", "layrcam"], "unknown CAM method 'layrcam': did you mean 'layercam'?"),
        (["--cam", "gradcam", "--layers", "backbon"], "no layer 'backbon': did you mean 'backbone'"),
        (["--cam", "legrad"], "no blocks of self-attention"),
        (["--cam", "scorecam(chanels=3)"], "scorecam has no argument 'chanels': did you mean 'channels'?"),
    ],
)
def test_mistakes_are_one_line(run, photos, tmp_path, capsys, flags, message):
    assert localize(photos, run, tmp_path / "out", *flags) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out" / "localizations.jsonl").exists()


def test_a_threshold_selected_for_other_maps_is_left_alone(run, world, photos, tmp_path, capsys, caplog):
    own = tmp_path / "run"
    shutil.copytree(run, own)
    flags = ["--data", str(world), "--weights", str(own), "--split", "val", "--select-threshold", "train"]
    flags += ["--cam", "layercam", "--refine", "none", "--device", "cpu", "--workers", "0"]
    assert cli.evaluate([*flags, "--out", str(tmp_path / "evaluation")]) == 0
    assert json.loads((own / "boxes.json").read_text(encoding="utf-8"))["cam"] == "layercam"
    capsys.readouterr()
    assert localize(photos, own, tmp_path / "a", "--cam", "layercam") == 0
    assert "selected on train" in capsys.readouterr().out
    assert localize(photos, own, tmp_path / "b") == 0
    assert "selected on train" not in capsys.readouterr().out
    assert "was selected for maps with --cam layercam and is left alone" in caplog.text


def test_cam_flags_describe_a_model(world, tmp_path, capsys):
    flags = ["--data", str(world), "--predictions", str(tmp_path), "--out", str(tmp_path), "--cam", "gradcam"]
    assert cli.evaluate(flags) == 2
    assert "--cam, --layers or --model needs --weights" in capsys.readouterr().err


OWN = """
import torch
from torch import nn
from wsl.config import Preprocessing

class Net(nn.Module):
    classes = ["blue", "red"]
    preprocessing = Preprocessing(image_size=32)

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3, 4), nn.Linear(4 * 64, 2)

    def forward(self, images):
        return {"logits": self.last(self.conv(images).relu().flatten(1))}
"""


def test_a_network_of_ones_own_code(photos, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_network_of_test_cam.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shapes = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "last.weight": (2, 256), "last.bias": (2,)}
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "net.pt")
    flags = ["--model", "own_network_of_test_cam:Net"]
    assert localize(photos, tmp_path / "net.pt", tmp_path / "out", *flags) == 0
    assert "maps by layercam of conv" in capsys.readouterr().out
    found = next(iter(read_localizations(tmp_path / "out")))
    assert set(found.scores) == {"blue", "red"}


def test_info_says_how_a_models_maps_are_made(run, capsys):
    assert cli.info(["alexnet", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["method"], record["layers"], record["map_size"]) == ("layercam", ["features"], [6, 6])
    assert "AdaptiveAvgPool2d" in record["why"]
    assert cli.info([str(run)]) == 0
    text = capsys.readouterr().out
    assert "cam: the scores are pooled from class maps" in text
    assert "8 x 8 cells" in text
    assert cli.info(["resnet5O"]) == 2
    assert "did you mean 'resnet50'" in capsys.readouterr().err


def test_refined_maps_of_a_classifier_without_class_maps(photos, tmp_path):
    """Intermediate features are found in any convolutional network, so that its gradient maps are refined, too."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)),
        *(nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 2)),
    )
    model = Localizer.from_classifier(net)
    assert (model.method, model.levels) == ("layercam", 2)
