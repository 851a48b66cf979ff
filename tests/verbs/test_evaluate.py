"""The figures of a results file and of the model that wrote it are the same, and mismatches are told."""

import json
import re

import cv2
import pytest

from wsl import cli
from wsl.config import DataConfig, EvaluateConfig, LocalizeConfig, PickConfig, RuntimeConfig
from wsl.errors import RunError, UserError
from wsl.tables import report_table
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def found(run, photos, tmp_path_factory):
    """The validation images localized, every class of each, with maps."""
    out = tmp_path_factory.mktemp("found")
    pick = PickConfig(top_k=None)
    sources = (str(photos / "val*.png"),)
    run_localize(LocalizeConfig(sources=sources, weights=str(run), out=out, pick=pick, maps=True, runtime=CPU))
    return out


def config(world, out, **options):
    return EvaluateConfig(data=DataConfig(data=world), out=out, runtime=CPU, **options)


def test_a_trained_model_beats_the_centre(world, run, tmp_path):
    report = evaluate(config(world, tmp_path, weights=str(run)))
    metrics = {metric.name: metric for metric in report.metrics}
    assert report.images == 16
    assert metrics["mAP"].value > 0.9
    assert metrics["pointing"].value > 0.9
    assert metrics["pointing"].value > metrics["pointing"].baseline
    assert metrics["MaxBoxAcc@0.3"].value > metrics["MaxBoxAcc@0.3"].baseline
    assert metrics["pointing"].counts == {"blue": 11, "red": 10}
    saved = json.loads((tmp_path / "evaluation.json").read_text())
    assert saved["metrics"]["mAP"]["value"] == metrics["mAP"].value
    assert "| mAP" in (tmp_path / "evaluation.md").read_text()


def test_file_and_model_agree(world, run, found, tmp_path):
    """Up to float16 maps and rounded numbers: one box of the eleven single things may fall otherwise."""
    by_model = evaluate(config(world, tmp_path / "a", weights=str(run)))
    by_file = evaluate(config(world, tmp_path / "b", predictions=found))
    for one, other in zip(by_model.metrics, by_file.metrics, strict=True):
        assert one.name == other.name
        assert one.value == pytest.approx(other.value, abs=0.1), one.name
        assert one.counts == other.counts


def test_keywords_and_no_folder_give_the_same_report_and_no_file(world, found, tmp_path, monkeypatch, capsys):
    expected = evaluate(config(world, tmp_path / "out", predictions=found))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    report = evaluate(found, data=world, split="val", device="cpu")
    assert report.metrics == expected.metrics
    assert cli.evaluate(["--predictions", str(found), "--data", str(world), "--device", "cpu"]) == 0
    assert "more metrics: --all; by class: --per-class" in capsys.readouterr().out
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(UserError, match="--plots are files: expected --out too"):
        evaluate(found, data=world, plots=True)
    with pytest.raises(UserError, match="--select-threshold keeps what it selects: expected --out too"):
        evaluate(found, data=world, select_threshold="train")


def test_classes_to_report(world, found, tmp_path):
    report = evaluate(config(world, tmp_path, predictions=found, report_classes=("red",)))
    pointing = next(metric for metric in report.metrics if metric.name == "pointing")
    assert pointing.value == pointing.per_class["red"]
    with pytest.raises(UserError, match="unknown class 'green'"):
        evaluate(config(world, tmp_path, predictions=found, report_classes=("green",)))


def lines_of(found):
    return (found / "localizations.jsonl").read_text(encoding="utf-8").splitlines()


def stored(tmp_path, records):
    folder = tmp_path / "edited"
    folder.mkdir()
    text = "\n".join(json.dumps({**record, "maps": None}) for record in records)
    (folder / "localizations.jsonl").write_text(text, encoding="utf-8")
    return folder


def test_missing_extra_and_double_images(world, found, tmp_path, caplog):
    records = [json.loads(line) for line in lines_of(found)]
    folder = stored(tmp_path, [*records[:10], {**records[0], "image": "somewhere/else.png"}])
    report = evaluate(config(world, tmp_path, predictions=folder))
    assert (report.images, report.missing) == (16, 0)
    assert report.warnings["images without a localization: misses"] == 6
    assert any("6 of 16 images have no localization, such as val10" in line for line in caplog.messages)
    assert any("images outside split val were left out" in line for line in caplog.messages)
    (folder / "localizations.jsonl").write_text("\n".join([lines_of(found)[0]] * 2), encoding="utf-8")
    with pytest.raises(UserError, match=r"edited|two localizations"):
        evaluate(config(world, tmp_path, predictions=folder))


def test_a_metric_that_was_asked_for_and_not_measured_is_told(world, found, tmp_path, caplog):
    records = [{**json.loads(line), "boxes": []} for line in lines_of(found)]
    folder = stored(tmp_path, records)
    report = evaluate(config(world, tmp_path / "out", predictions=folder, metrics=("mAP", "PxAP", "CorLoc")))
    assert set(report.computed_by.values()) == {"mAP"}
    assert caplog.messages[-2:] == [
        "CorLoc was not measured: no image has what it measures",
        "PxAP was not measured: no image has annotated masks",
    ]
    with pytest.raises(RunError, match="nothing to measure"):
        evaluate(config(world, tmp_path / "none", predictions=folder, metrics=("PxAP",)))
    assert not (tmp_path / "none" / "evaluation.json").exists()


def test_predictions_of_other_images_are_refused(world, found, tmp_path):
    record = json.loads(lines_of(found)[0])
    folder = stored(tmp_path, [{**record, "image": "other.png"}])
    told = r"none of its 1 localizations is of an image of split val: they are of other\.png, expected such as .*val00"
    with pytest.raises(UserError, match=told):
        evaluate(config(world, tmp_path, predictions=folder))
    (folder / "localizations.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="has no localization: expected those of the images of split val"):
        evaluate(config(world, tmp_path, predictions=folder))


def test_another_size_than_annotated_is_told(world, found, tmp_path):
    record = json.loads(lines_of(found)[0])
    folder = stored(tmp_path, [{**record, "size": [9, 9]}])
    with pytest.raises(UserError, match="9x9"):
        evaluate(config(world, tmp_path, predictions=folder))


def test_a_model_of_other_classes_is_refused(world, tmp_path, monkeypatch):
    import torch
    from torchvision.models import resnet18

    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    settings = config(world, tmp_path, weights="resnet18", local_weights=tmp_path / "resnet18.pth")
    with pytest.raises(UserError, match="does not know the class 'blue'"):
        evaluate(settings)


def test_an_unreadable_image_is_a_miss_for_a_model_as_in_its_stored_localizations(world, run, found, tmp_path):
    records = [json.loads(line) for line in lines_of(found)]
    without = stored(tmp_path, [one for one in records if "val03" not in one["image"]])
    expected = evaluate(config(world, tmp_path, predictions=without, metrics=("CorLoc", "mAP")))
    broken = world / "JPEGImages" / "val03.png"
    whole = broken.read_bytes()
    try:
        broken.write_bytes(b"")
        report = evaluate(config(world, tmp_path, weights=str(run), metrics=("CorLoc", "mAP"), stability=16))
    finally:
        broken.write_bytes(whole)
    assert (report.images, report.missing) == (16, 0)
    assert report.warnings == expected.warnings == {"images without a localization: misses": 1}
    for one, other in zip(expected.metrics, report.metrics, strict=False):
        assert (one.counts, one.note) == (other.counts, other.note)
    assert "(1 more could not be read)" in report.metrics[-1].note
    assert cv2.imread(str(broken)) is not None


def test_either_predictions_or_weights(world, tmp_path):
    for options in ({}, {"weights": "a", "predictions": tmp_path}):
        with pytest.raises(UserError, match="either"):
            config(world, tmp_path, **options)
    with pytest.raises(UserError, match="results of an unknown format"):
        evaluate(config(world, tmp_path, predictions=tmp_path))
    with pytest.raises(UserError, match="did you mean 'val'"):
        evaluate(config(world, tmp_path, weights="resnet50", split="vla"))


def test_the_default_report_is_one_screen_and_all_of_it_is_kept(world, run, tmp_path, capsys):
    flags = ["--weights", str(run), "--data", str(world), "--split", "val", "--out", str(tmp_path)]
    assert cli.evaluate(flags) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) <= 30
    rows = [line.split("|")[1].strip() for line in short.splitlines() if line.startswith("|")][2:]
    assert rows == ["mAP", "pointing", "CorLoc", "AP50", "MaxBoxAccV2"]
    assert "more metrics: --all" in short
    assert "† fewer than 30 images" in short  # 16 of them
    assert cli.evaluate([*flags, "--all", "--per-class"]) == 0
    text = capsys.readouterr().out
    kept = (tmp_path / "evaluation.md").read_text(encoding="utf-8")
    assert "| COCO AR100" in text
    assert "| red " in text
    assert set(kept.splitlines()) <= set(text.splitlines())


def test_metrics_and_their_thresholds_are_chosen(world, run, tmp_path):
    some = evaluate(config(world, tmp_path, weights=str(run), metrics=("MaxBoxAccV2", "mAP"), num_thresholds=50))
    names = ["mAP", "mAP (11-point)", "MaxBoxAccV2", *(f"MaxBoxAccV2@{level}" for level in (0.3, 0.5, 0.7))]
    assert [metric.name for metric in some.metrics if not metric.name.startswith("BoxAcc")] == names
    threshold = float(re.search(r"best threshold ([\d.]+)", some.metrics[2].note)[1])
    assert threshold * 50 == pytest.approx(round(threshold * 50))


def test_by_the_benchmarks_protocol_maps_are_resized_and_the_report_says_what_is_not(world, run, tmp_path):
    settings = {"weights": str(run), "refine": "none", "metrics": ("MaxBoxAccV2", "PxAP", "CorLoc")}
    reports = {
        (protocol, aligned): evaluate(config(world, tmp_path, protocol=protocol, aligned=aligned, **settings))
        for protocol in ("default", "wsolevaluation")
        for aligned in (None, True, False)
    }
    for protocol, usual in (("default", True), ("wsolevaluation", False)):
        assert reports[protocol, None].metrics == reports[protocol, usual].metrics
        assert reports[protocol, None].to_json()["protocol"] == protocol
    assert "maps resized to the image" in reports["default", False].to_json()["protocol"]
    assert "maps placed at receptive-field centres" in report_table(reports["wsolevaluation", True])


def test_the_network_computes_in_single_precision_by_default(world, tmp_path):
    settings = EvaluateConfig(data=DataConfig(data=world), out=tmp_path, weights="resnet50")
    assert settings.runtime.precision == "fp32"


def test_a_model_is_asked_about_mirror_images(world, run, tmp_path):
    report = evaluate(config(world, tmp_path, weights=str(run), stability=5, metrics=("mAP",)))
    metrics = {metric.name: metric for metric in report.metrics}
    assert metrics["flip correlation"].value > 0.7
    assert metrics["flip box IoU"].value > 0.5
    assert metrics["flip correlation"].note.endswith("5 of 16 labelled images, spread evenly")
