"""A threshold is selected on one split, reported on another, kept with the run, and used from then on."""

import dataclasses
import json
import shutil

import pytest

from wsl.config import BoxConfig, DataConfig, EvaluateConfig, LocalizeConfig, PickConfig, RuntimeConfig
from wsl.errors import UserError
from wsl.formats import read_localizations
from wsl.thresholds.stored import load_selected, save_selected
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32", workers=0)


@pytest.fixture(scope="module")
def own_run(run, tmp_path_factory):
    """A copy of the run, whose threshold is selected here."""
    return shutil.copytree(run, tmp_path_factory.mktemp("own") / "run")


@pytest.fixture(scope="module")
def selected(world, own_run, tmp_path_factory):
    """The report on val with the threshold of train, and where it was written."""
    out = tmp_path_factory.mktemp("selected")
    config = EvaluateConfig(
        data=DataConfig(data=world), weights=str(own_run), out=out, select_threshold="train", plots=True, runtime=CPU
    )
    return evaluate(config), out


def metric(report, name):
    return next(metric for metric in report.metrics if metric.name == name)


def test_the_report_says_where_the_threshold_came_from(selected, own_run):
    report, out = selected
    kept = load_selected(own_run)
    assert (kept.split, kept.iou, kept.pairs) == ("train", 0.5, 64)
    assert (report.boxes.threshold, report.boxes.box_rule) == (kept.threshold, kept.box_rule)
    assert report.boxes.origin == "selected on train"
    honest, optimistic = (metric(report, f"CorLoc (pairs{end}") for end in (")", ", optimistic)"))
    assert f"threshold {kept.threshold:g}" in honest.note
    assert "selected on train" in honest.note
    assert "best on the evaluated split (optimistic)" in optimistic.note
    assert honest.value <= optimistic.value
    assert honest.counts == optimistic.counts
    for level in ("0.3", "0.5", "0.7"):
        mine, best = metric(report, f"BoxAcc@{level}"), metric(report, f"MaxBoxAcc@{level}")
        assert mine.note.endswith("selected on train")
        assert mine.value <= best.value
    text = (out / "evaluation.md").read_text(encoding="utf-8")
    assert "selected on train" in text.splitlines()[2]
    saved = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert saved["boxes"]["origin"] == "selected on train"
    spent = json.loads((out / "seconds.json").read_text(encoding="utf-8"))
    assert set(spent) >= {"reading and network", "selecting the threshold", "metrics"}


def test_the_selected_threshold_is_better_than_the_default(selected, world, own_run, tmp_path):
    """The things are smaller than 0.2 of the maximum makes them."""
    config = EvaluateConfig(
        data=DataConfig(data=world), weights=str(own_run), out=tmp_path, boxes=BoxConfig(threshold=0.2), runtime=CPU
    )
    default = evaluate(config)
    assert default.boxes.origin == "given"
    assert metric(selected[0], "CorLoc (pairs)").value > metric(default, "CorLoc (pairs)").value


def localize(run, photos, out, **boxes):
    config = LocalizeConfig(
        sources=(str(photos / "val0*.png"),), weights=str(run), out=out, pick=PickConfig(top_k=None),
        boxes=BoxConfig(**boxes), runtime=CPU,
    )  # fmt: skip
    run_localize(config)
    record = json.loads((out / "localize.json").read_text(encoding="utf-8"))
    found = [one.boxes.xyxy.tolist() for one in read_localizations(out)]
    return found, record["boxes"], record["box_origin"]


def test_localize_uses_it_unless_told_otherwise(selected, own_run, run, photos, tmp_path, caplog):
    caplog.set_level("INFO", logger="wsl")
    kept = load_selected(own_run)
    found, boxes, origin = localize(own_run, photos, tmp_path / "a")
    assert (boxes["threshold"], boxes["box_rule"], origin) == (kept.threshold, kept.box_rule, "selected on train")
    assert any("selected on train" in line for line in caplog.messages)
    same, *_ = localize(own_run, photos, tmp_path / "b", threshold=kept.threshold, box_rule=kept.box_rule)
    assert found == same
    _, boxes, origin = localize(own_run, photos, tmp_path / "c", threshold=0.7)
    assert (boxes["threshold"], origin) == (0.7, "given")
    _, boxes, origin = localize(run, photos, tmp_path / "d")
    assert (boxes["threshold"], boxes["box_rule"], origin) == (0.2, "largest", "the default")


def test_evaluating_those_results_tells_the_same_origin(selected, own_run, world, photos, tmp_path):
    localize(own_run, photos, tmp_path)
    report = evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=tmp_path, out=tmp_path / "val"))
    assert report.boxes.origin == "selected on train"
    (tmp_path / "localize.json").unlink()
    report = evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=tmp_path, out=tmp_path / "val"))
    assert "with unknown settings" in str(report.boxes)


def test_a_run_trained_again_forgets_it(selected, own_run, tmp_path, caplog):
    again = shutil.copytree(own_run, tmp_path / "again")
    kept = load_selected(again)
    save_selected(dataclasses.replace(kept, model="0" * 64), again)
    assert load_selected(again) is None
    assert any("another state of the run" in line for line in caplog.messages)
    (again / "boxes.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"boxes\.json.*remove it, or select the threshold again"):
        load_selected(again)


def test_stored_maps_serve_the_selection_too(world, run, photos, tmp_path):
    """One results file over both splits; without the maps of one there is nothing to select on."""
    pick = PickConfig(top_k=None)
    out = tmp_path / "found"
    run_localize(LocalizeConfig(sources=(str(photos),), weights=str(run), out=out, pick=pick, maps=True, runtime=CPU))
    data = DataConfig(data=world)
    report = evaluate(EvaluateConfig(data=data, predictions=out, out=tmp_path, select_threshold="train"))
    assert report.boxes.origin == "selected on train"
    assert json.loads((tmp_path / "boxes.json").read_text(encoding="utf-8"))["split"] == "train"
    assert not (run / "boxes.json").exists()
    lines = (out / "localizations.jsonl").read_text(encoding="utf-8").splitlines()
    kept = "\n".join(line for line in lines if "/val" in line)
    (out / "localizations.jsonl").write_text(kept, encoding="utf-8")
    with pytest.raises(UserError, match="none of its 16 localizations is of an image of split train"):
        evaluate(EvaluateConfig(data=data, predictions=out, out=tmp_path, select_threshold="train"))


def test_selecting_on_what_is_reported_is_refused(world, run, tmp_path):
    config = EvaluateConfig(data=DataConfig(data=world), weights=str(run), out=tmp_path, runtime=CPU)
    with pytest.raises(UserError, match="is the split that is reported"):
        dataclasses.replace(config, select_threshold="val")
    with pytest.raises(UserError, match="expected one of them"):
        dataclasses.replace(config, select_threshold="train", boxes=BoxConfig(threshold=0.3))
    main = world / "ImageSets" / "Main"
    (main / "both.txt").write_text("val00\ntrain00\n", encoding="utf-8")
    try:
        with pytest.raises(UserError, match="shares 1 images with split val, 'val00' first"):
            evaluate(dataclasses.replace(config, select_threshold="both"))
    finally:
        (main / "both.txt").unlink()


def test_plots_are_saved(selected):
    _, out = selected
    names = {path.name for path in (out / "plots").iterdir()}
    assert {"accuracy_over_threshold.png", "classes.png", "overlaps.png", "accuracy_over_size.png"} <= names
    assert {"boxes_over_score.png", "reliability.png"} <= names
    report = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    for reason in report["failures"]:
        assert f"failures-{reason.replace(' ', '-')}.png" in names
