"""The images of a data set: localized as usual, or exactly the classes that each is labelled with."""

import json
import re
import shutil
from pathlib import Path

import pytest

from wsl import cli
from wsl.config import DataConfig, EvaluateConfig, LocalizeConfig, PickConfig, RuntimeConfig
from wsl.data import read_samples
from wsl.errors import UserError
from wsl.formats import read_localizations
from wsl.verbs import localize as verb
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import plan_localize, run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32", workers=0)


def localize(run, out, data, **options):
    options = {"labels": True, "runtime": CPU, **options}
    result = run_localize(LocalizeConfig(weights=str(run), out=out, data=DataConfig(data=data), **options))
    return result, list(read_localizations(out))


def dog(image: int, label: int, crowd: int = 0) -> dict:
    return {"id": 10 * image + label, "image_id": image, "category_id": label, "bbox": [4, 4, 20, 20], "iscrowd": crowd}


@pytest.fixture
def coco(photos, tmp_path) -> Path:
    """Four images in folders, two of one stem: of both classes, of none, of a crowd only, and of red."""
    root = tmp_path / "coco"
    names = ["night/0.png", "day/0.png", "day/1.png", "day/2.png"]
    for source, name in zip(sorted(photos.glob("val0*.png")), names, strict=False):
        (root / "val" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, root / "val" / name)
    document = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
        "annotations": [dog(0, 1), dog(0, 2), dog(2, 1, crowd=1), dog(3, 1)],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def test_each_image_has_its_own_classes(run, world, tmp_path):
    result, found = localize(run, tmp_path, world)
    samples = read_samples(DataConfig(data=world), "val").samples
    assert (result.images, result.skipped) == (16, 0)
    assert [one.path for one in found] == [sample.path for sample in samples]
    for one, sample in zip(found, samples, strict=True):
        assert one.points.keys() == set(sample.labels)
        assert set(one.boxes.labels) <= set(sample.labels)
        assert len(one.scores) == 2
    assert {frozenset(one.points) for one in found} == {
        frozenset({"blue"}), frozenset({"red"}), frozenset({"blue", "red"})
    }  # fmt: skip


def test_without_labels_the_images_of_a_split_are_localized_as_usual(run, world, photos, tmp_path):
    _, found = localize(run, tmp_path / "data", world, labels=False, pick=PickConfig(top_k=1))
    sources = (str(photos / "val*.png"),)
    run_localize(LocalizeConfig(sources=sources, weights=str(run), out=tmp_path / "plain", runtime=CPU))
    plain = list(read_localizations(tmp_path / "plain"))
    assert [one.to_json() for one in found] == [one.to_json() for one in plain]


def test_images_of_one_stem_and_images_without_labels(run, coco, tmp_path):
    """A crowd, as difficult objects are, is no label."""
    out = tmp_path / "out"
    _, found = localize(run, out, coco, heatmaps=True)
    assert [one.path.relative_to(coco / "val").as_posix() for one in found] == [
        "night/0.png", "day/0.png", "day/1.png", "day/2.png"
    ]  # fmt: skip
    assert [set(one.points) for one in found] == [{"red", "blue"}, set(), set(), {"red"}]
    assert [set(one.boxes.labels) for one in found] == [{"red", "blue"}, set(), set(), {"red"}]
    names = {path.name for path in (out / "heatmaps").iterdir()}
    assert names == {"night_0.png.png", "day_2.png.png"}
    data = DataConfig(data=coco)
    report = evaluate(EvaluateConfig(data=data, predictions=out, out=tmp_path / "evaluation"))
    assert (report.images, report.missing) == (4, 0)


def test_a_csv_with_an_image_that_cannot_be_read(run, photos, tmp_path, caplog):
    shutil.copy(photos / "val00.png", tmp_path / "a.png")
    shutil.copy(photos / "val01.png", tmp_path / "c.png")
    (tmp_path / "b.png").write_text("text", encoding="utf-8")
    (tmp_path / "labels.csv").write_text("path,labels\na.png,red;blue\nb.png,red\nc.png,\n", encoding="utf-8")
    result, found = localize(run, tmp_path / "out", tmp_path / "labels.csv", split="all")
    assert (result.images, result.skipped) == (2, 1)
    assert any("b.png" in line for line in caplog.messages)
    assert [set(one.points) for one in found] == [{"blue", "red"}, set()]


def test_folders_as_labels_from_the_command_line(run, photos, tmp_path, capsys):
    for label, name in (("red", "val00.png"), ("blue", "val01.png"), ("red", "val02.png")):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, tmp_path / "photos" / label / name)
    flags = ["--data", str(tmp_path / "photos"), "--split", "all", "--labels", "--weights", str(run)]
    assert cli.localize([*flags, "--out", str(tmp_path / "out")]) == 0
    assert "in 3 images" in capsys.readouterr().out
    found = list(read_localizations(tmp_path / "out"))
    assert all(set(one.points) == {one.path.parent.name} for one in found)


def test_a_class_that_the_model_does_not_know_is_told_before_anything_runs(run, photos, tmp_path, monkeypatch):
    (tmp_path / "photos" / "bleu").mkdir(parents=True)
    shutil.copy(photos / "val00.png", tmp_path / "photos" / "bleu")
    for known_early in (True, False):  # an ONNX file and a classifier's name tell their classes when they are loaded
        if not known_early:
            monkeypatch.setattr(verb, "check_model", lambda *_: None)
        with pytest.raises(UserError, match=r"split all: the model of .* knows no class 'bleu'; did you mean 'blue'\?"):
            localize(run, tmp_path / "out", tmp_path / "photos", split="all")
        assert not (tmp_path / "out").exists()


def test_the_settings_are_kept_with_the_refinement_that_was_meant(run, coco, tmp_path):
    localize(run, tmp_path, coco)
    record = json.loads((tmp_path / "localize.json").read_text(encoding="utf-8"))
    assert (record["data"]["data"], record["split"], record["labels"]) == (coco.as_posix(), "val", True)
    assert (record["refine"], record["boxes"]["threshold"], record["sources"]) == ("none", 0.2, [])


def test_the_method_is_told_unless_it_was_asked_for(run, photos, tmp_path, capsys):
    flags = [str(photos / "val00.png"), "--weights", str(run), "--out", str(tmp_path), "--overwrite"]
    assert cli.localize(flags) == 0
    assert re.search(r"boxes: threshold 0\.2 \(.*\), the default; maps not refined\n", capsys.readouterr().out)
    assert cli.localize([*flags, "--dry-run"]) == 0
    assert re.search(r"boxes: threshold 0\.2 \(.*\), the default; maps not refined\n", capsys.readouterr().out)
    assert cli.localize([*flags, "--refine", "affinity", "--threshold", "0.4"]) == 0
    assert "refined" not in capsys.readouterr().out
    assert cli.localize([*flags, "--refine", "affinity"]) == 0
    assert re.search(r"threshold 0\.5 \(.*\), the default; maps refined by affinity\n", capsys.readouterr().out)


def test_a_refinement_that_nobody_asked_for_is_told_with_the_way_out(photos, tmp_path, monkeypatch):
    import wsl

    model = wsl.Localizer("resnet18", classes=["blue", "red"], weights="none")
    monkeypatch.setattr("wsl.inference.opening.open_model", lambda *_, **__: model)
    sources = (str(photos / "val00.png"),)
    plan = plan_localize(LocalizeConfig(sources=sources, weights="resnet18", out=tmp_path))
    assert plan.method.endswith("the default; maps refined by affinity (--refine none for the network's own)")
    assert plan.method in str(plan)


def test_images_and_data_are_alternatives(world, tmp_path):
    options = {"weights": "resnet50", "out": tmp_path}
    with pytest.raises(UserError, match="no image given"):
        LocalizeConfig(**options)
    with pytest.raises(UserError, match=r"both images \(a, b\) and --data"):
        LocalizeConfig(sources=("a", "b"), data=DataConfig(data=world), **options)
    with pytest.raises(UserError, match="expected it too"):
        LocalizeConfig(sources=("a",), split="val", **options)
