"""`wsl-info`, and the one flag that all commands share."""

import json
import re

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


def test_what_is_understood_of_a_data_set(tmp_path, capsys):
    for split, name in (("train", "cat"), ("train", "dog"), ("val", "dog")):
        (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / name / "a.jpg").touch()
    (tmp_path / "val" / "cat").mkdir()
    assert cli.info(["--data", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "folder, 2 classes" in text
    assert re.search(r"images +\| +2 \| +1 \|", text)
    assert re.search(r"boxes +\| not annotated \| not annotated \|", text)
    assert re.search(r"cat +\| +1 \| +0 \|", text)
    assert cli.info(["--data", str(tmp_path), "--split", "val", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["format"], record["classes"], record["splits"]["val"]["images"]) == ("folder", ["cat", "dog"], 1)
    assert cli.info(["--data", str(tmp_path / "lost")]) == 2


def test_negatives_and_what_nobody_knows_are_counted(tmp_path, capsys):
    (tmp_path / "a.jpg").touch()
    table = "ImageID,LabelName,Confidence\na,dog,1\na,cat,0\na,eel,0\n"
    (tmp_path / "train-annotations-human-imagelabels.csv").write_text(table, encoding="utf-8")
    (tmp_path / "class-descriptions.csv").write_text("cat,cat\ncow,cow\ndog,dog\neel,eel\n", encoding="utf-8")
    assert cli.info(["--data", str(tmp_path), "--json"]) == 0
    split = json.loads(capsys.readouterr().out)["splits"]["train"]
    assert (split["unknown"], split["verified_absent"], split["boxes"]) == (1, 2, None)
