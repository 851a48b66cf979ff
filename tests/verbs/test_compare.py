"""Runs side by side: the numbers are those of wsl-evaluate, differences are paired, and the runs stay as they are."""

import csv
import dataclasses
import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

import wsl
from wsl import cli
from wsl.config import BoxConfig, CompareConfig, DataConfig, EvaluateConfig, LocalizeConfig, PickConfig, RuntimeConfig
from wsl.errors import RunError, UserError
from wsl.files import locked
from wsl.verbs import compare as verb
from wsl.verbs.compared_runs import find_run
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32")
CHOSEN = ("mAP", "pointing", "CorLoc", "top-k")


@pytest.fixture(scope="module")
def found(world, run, photos, tmp_path_factory):
    """The validation images localized with a fair and with a high threshold: runs/fair/found and runs/high/found."""
    root = tmp_path_factory.mktemp("runs")
    for name, threshold in (("fair", 0.8), ("high", 0.95)):
        run_localize(
            LocalizeConfig(
                sources=(str(photos / "val*.png"),),
                weights=str(run),
                out=root / name / "found",
                pick=PickConfig(top_k=None),
                boxes=BoxConfig(threshold=threshold, box_rule="largest"),
                maps=True,
                runtime=CPU,
            )
        )
    return root


def config(world, *runs, **options):
    return CompareConfig(runs=tuple(map(str, runs)), data=DataConfig(data=world), runtime=CPU, **options)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_numbers_are_those_of_an_evaluation_and_runs_stay_as_they_are(world, run, found, tmp_path):
    before = contents(run), contents(found)
    result = wsl.compare(config(world, found / "fair" / "found", run, metrics=CHOSEN))
    assert (contents(run), contents(found)) == before
    assert result.metrics == ("mAP", "pointing", "CorLoc", "top-1")
    data = DataConfig(data=world)
    alone = [
        EvaluateConfig(data=data, out=tmp_path, predictions=found / "fair" / "found", runtime=CPU),
        EvaluateConfig(data=data, out=tmp_path, weights=str(run), runtime=CPU),
    ]
    for one, settings in zip(result.runs, alone, strict=True):
        metrics = {metric.name: metric for metric in evaluate(settings).metrics}
        assert dict(one.metrics) == {name: metrics[name] for name in result.metrics}
    assert [one.name for one in result.runs] == ["found", "lse"]


def test_what_only_draws_smaller_boxes_differs_by_boxes_alone(world, found):
    result = wsl.compare(config(world, found / "fair" / "found", found / "high" / "found", agreement=True))
    assert [one.name for one in result.runs] == ["fair", "high"]
    assert len(result.metrics) == 5
    classes, boxes = (result.difference("high", "fair", name) for name in ("mAP", "CorLoc"))
    assert (classes.value, classes.interval, classes.beyond_noise) == (0, (0, 0), False)
    assert boxes.value < 0
    assert boxes.beyond_noise
    assert result.best("CorLoc") == "fair"
    assert result.best("mAP") is None
    (alike,) = result.agreement
    assert alike.correlation == pytest.approx(1, abs=1e-6)
    assert 0 < alike.iou < 1
    assert alike.boxes == alike.maps == 21


def test_the_baseline_and_the_order_turn_signs_only(world, found):
    fair, high = found / "fair" / "found", found / "high" / "found"
    one = wsl.compare(config(world, fair, high, metrics=("CorLoc",), baseline=str(high)))
    other = wsl.compare(config(world, high, fair, metrics=("CorLoc",), baseline="fair"))
    assert (one.baseline, other.baseline) == ("high", "fair")
    first, second = one.difference("high", "fair", "CorLoc"), other.difference("high", "fair", "CorLoc")
    assert first.value == pytest.approx(second.value)
    assert first.interval == pytest.approx(second.interval)


def test_the_command_prints_and_writes_every_form(world, found, tmp_path, capsys):
    runs = [str(found / name / "found") for name in ("fair", "high")]
    flags = [*runs, "--data", str(world), "--metrics", "CorLoc", "pointing", "--names", "a", "b & c"]
    out = tmp_path / "out"
    assert cli.compare([*flags, "--out", str(out), "--figure", "svg"]) == 0
    printed = capsys.readouterr().out
    assert "| **" in printed
    assert "Differences to a:" in printed
    assert str(out / "comparison.json") in printed
    names = {path.name for path in out.iterdir()}
    assert names == {f"comparison.{end}" for end in ("json", "md", "tex", "csv", "svg")}
    assert (out / "comparison.md").read_text(encoding="utf-8").strip() in printed
    saved = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert saved["metrics"] == ["CorLoc", "pointing"]
    assert saved["differences"][0]["beyond_noise"]
    with (out / "comparison.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    value = saved["runs"][1]["metrics"]["CorLoc"]["value"]
    assert float(rows[2]["value"]) == pytest.approx(value, abs=1e-5)
    assert r"b \& c & " in (out / "comparison.tex").read_text(encoding="utf-8")
    assert ElementTree.parse(out / "comparison.svg").getroot().tag.endswith("svg")  # noqa: S314
    assert cli.compare([*flags, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == saved
    assert (out / "comparison.pdf").read_bytes().startswith(b"%PDF")
    assert not (out / "comparison.svg").exists()  # it would show another comparison


def test_without_a_folder_nothing_is_written(world, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wsl.compare(config(world, found / "fair" / "found", found / "high" / "found", metrics=("CorLoc",)))
    assert not list(tmp_path.iterdir())


def test_a_selected_threshold_is_used_and_not_kept(world, run, tmp_path):
    copy = tmp_path / "other"
    shutil.copytree(run, copy)
    before = contents(run), contents(copy)
    settings = {"metrics": ("CorLoc",), "select_threshold": "train", "out": tmp_path / "out", "figure": None}
    result = wsl.compare(config(world, run, copy, **settings))
    assert all("selected on train" in one.boxes for one in result.runs)
    assert result.difference("other", "lse", "CorLoc").interval == (0, 0)
    assert (contents(run), contents(copy)) == before
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".tex", ".csv"}


def test_a_missing_prediction_is_a_miss(world, found, tmp_path):
    fair = found / "fair" / "found"
    lines = (fair / "localizations.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), "maps": None} for line in lines[:10]]
    (tmp_path / "localizations.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    result = wsl.compare(config(world, fair, tmp_path, metrics=("CorLoc",)))
    assert result.images == 16
    assert result.runs[1].warnings == {"images without a localization: misses": 6}
    assert result.runs[1].value("CorLoc") < result.runs[0].value("CorLoc")


def test_settings_of_models_leave_stored_predictions_unchanged(world, found):
    place = found / "fair" / "found"
    settings = config(world, place, "resnet50", refine="pamr", image_size=64)
    one, other = (find_run(given).settings(settings, ["mAP"]) for given in settings.runs)
    assert (one.predictions, one.refine, one.image_size) == (place, "auto", None)
    assert (other.weights, other.refine, other.image_size) == ("resnet50", "pamr", 64)


def test_an_unknown_model_is_told_before_anything_is_measured(world, found, caplog):
    with pytest.raises(UserError, match=r"no model 'resnet5O' \(did you mean 'resnet50'\?\)"):
        wsl.compare(config(world, found / "fair" / "found", "resnet5O"))
    assert not caplog.messages


def test_an_image_that_one_model_cannot_read_is_a_miss(world, run, found):
    broken = world / "JPEGImages" / "val03.png"
    whole = broken.read_bytes()
    try:
        broken.write_bytes(b"")
        result = wsl.compare(config(world, found / "fair" / "found", run, metrics=("mAP",)))
    finally:
        broken.write_bytes(whole)
    assert [one.warnings for one in result.runs] == [{}, {"images without a localization: misses": 1}]


def test_runs_on_different_images_are_refused(world, found, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    for image in (world / "JPEGImages").glob("val*.png"):  # every third image has two classes, and only one map
        np.save(maps / f"{image.stem}.npy", np.eye(4))
    settings = config(world, found / "fair" / "found", maps, metrics=("CorLoc",), out=tmp_path / "out")
    with pytest.raises(
        UserError, match=r"5 differ, such as \S*val02.png, .* left out for maps \(wsl-evaluate says why"
    ):
        wsl.compare(settings)
    assert not (tmp_path / "out").exists()


def test_labels_alone_are_enough_for_agreement(world, found, tmp_path):
    lines = ["path,labels"]
    for name, label in (("val00", "blue"), ("val01", "red"), ("val03", "blue")):
        lines.append(f"{world / 'JPEGImages' / name}.png,{label}")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    settings = config(tmp_path / "labels.csv", found / "fair" / "found", found / "high" / "found", split="all")
    result = wsl.compare(dataclasses.replace(settings, agreement=True))
    assert result.agreement[0].maps == 3
    assert "CorLoc" not in result.metrics
    with pytest.raises(RunError, match="nothing to compare"):
        wsl.compare(dataclasses.replace(settings, metrics=("CorLoc",)))
    only = wsl.compare(dataclasses.replace(settings, metrics=("CorLoc",), agreement=True, out=tmp_path / "out"))
    assert only.metrics == ()
    assert "fair" in (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")


def test_a_folder_of_both_a_model_and_predictions_is_named_by_its_file(world, run, found, tmp_path):
    both = tmp_path / "both"
    shutil.copytree(found / "fair" / "found", both)
    shutil.copy(run / "model.safetensors", both)
    with pytest.raises(UserError, match="holds a model and localizations"):
        wsl.compare(config(world, both, run))
    files = (both / "localizations.jsonl", both / "model.safetensors")
    result = wsl.compare(config(world, *files, names=("read", "computed"), metrics=("mAP",)))
    assert [one.name for one in result.runs] == ["read", "computed"]


def test_what_is_stopped_leaves_nothing(world, found, tmp_path, monkeypatch, capsys):
    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "paired_differences", stopped)
    runs = [str(found / name / "found") for name in ("fair", "high")]
    assert cli.compare([*runs, "--data", str(world), "--metrics", "mAP", "--out", str(tmp_path / "out")]) == 130
    assert not (tmp_path / "out").exists()


def test_another_run_in_the_folder_is_waited_for_by_the_user(world, found, tmp_path, capsys):
    import threading

    held, done = threading.Event(), threading.Event()

    def hold():
        with locked(tmp_path, "wsl-localize"):
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    runs = [str(found / name / "found") for name in ("fair", "high")]
    try:
        assert cli.compare([*runs, "--data", str(world), "--out", str(tmp_path)]) == 2
    finally:
        done.set()
        holder.join()
    assert "is being written to by" in capsys.readouterr().err
