"""`wsl-info`, and the one flag that all commands share."""

import json

from wsl import cli
from wsl.formats import read_localizations


def test_it_names_what_is_here(capsys):
    assert cli.info([]) == 0
    text = capsys.readouterr().out
    assert "torch " in text
    assert "kmax" in text
    assert cli.info(["--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert "resnet50" in record["backbones"]
    assert record["versions"]["torch"]
    assert {"sppblock", "softpool2d", "netvlad"} <= {*record["necks"], *record["downsamplings"], *record["encoders"]}
    assert {"coco", "voc-masks", "onnx"} <= set(record["formats"])


def test_json_is_one_object_on_standard_output(run, photos, tmp_path, capsys):
    flags = [str(photos / "val0*.png"), "--weights", str(run), "--out", str(tmp_path), "--workers", "0"]
    assert cli.localize([*flags, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"] == 10
    assert len(list(read_localizations(tmp_path))) == 10


def test_a_dry_run_says_what_would_happen_and_does_nothing(run, photos, tmp_path, capsys):
    out = tmp_path / "out"
    flags = [str(photos / "val*.png"), "--weights", str(run), "--out", str(out), "--dry-run"]
    assert cli.localize(flags) == 0
    text = capsys.readouterr().out
    assert "16 images at 64 px" in text
    assert "… and 11 more" in text
    assert not out.exists()
    assert cli.localize([*flags, "--classes", "green"]) == 2
    assert "no class 'green'" in capsys.readouterr().err
