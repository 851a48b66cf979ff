import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from wsl.errors import UserError
from wsl.metrics import METRICS, Evaluation, Observation, Row, Statistic
from wsl.results import EvaluationReport, Metric
from wsl.samples import Sample
from wsl.tables import report_table

ALL = [
    "mAP",
    "mAP (11-point)",
    "top-1",
    "pointing",
    "pointing (pairs)",
    "point AP",
    "CorLoc",
    "CorLoc (pairs)",
    "CorLoc (pairs, optimistic)",
    "GT-known Loc",
    "Top-1 Loc",
    "AP50",
    "AP50 (11-point)",
    "MaxBoxAcc@0.3",
    "MaxBoxAcc@0.5",
    "MaxBoxAcc@0.7",
    "MaxBoxAccV2",
    "MaxBoxAccV2@0.3",
    "MaxBoxAccV2@0.5",
    "MaxBoxAccV2@0.7",
    "COCO AP",
    "COCO AP50",
    "COCO AP75",
    "COCO AR1",
    "COCO AR10",
    "COCO AR100",
]
ERRORS = ["calibration error", "box calibration error"]  # 0 is best


@pytest.fixture
def perfect(finding, annotated, boxes):
    """Predictions that are right in every respect, with their samples."""
    pairs = []
    for name, label in (("a.jpg", "cat"), ("b.jpg", "dog"), ("c.jpg", "dog")):
        there = boxes((label, [0, 0, 50, 100]))
        found = finding(
            name,
            scores={"cat": float(label == "cat"), "dog": float(label == "dog")},
            boxes=there,
            points={label: (10, 10)},
            maps={label: np.float32([[1, 1, 0, 0]] * 4)},
        )
        pairs.append((found, annotated(there, name)))
    return pairs


def test_perfect_predictions_are_perfect_in_every_metric(perfect):
    evaluation = Evaluation(["cat", "dog"])
    for found, sample in perfect:
        evaluation.update(found, sample)
    report = evaluation.compute(source="x.jsonl", missing=2)
    assert [metric.name for metric in report.metrics] == [*ALL, *ERRORS]
    assert [metric.value for metric in report.metrics] == pytest.approx([1] * len(ALL) + [0] * len(ERRORS))
    assert (report.images, report.missing, report.source) == (3, 2, "x.jsonl")
    counts = {metric.name: metric.count for metric in report.metrics}
    assert counts == {**dict.fromkeys(ALL, 3), "calibration error": 6, "box calibration error": 3}
    assert {metric.images for metric in report.metrics} == {3}


def test_report_classes_narrow_every_mean(perfect, finding):
    evaluation = Evaluation(["cat", "dog"], report_classes=["cat"])
    evaluation.update(*perfect[0])
    for found, sample in perfect[1:]:
        evaluation.update(finding(found.path.name, scores={"dog": 0, "cat": -1}), sample)
    for metric in evaluation.compute("x").metrics:
        assert metric.value == pytest.approx(float(metric.name not in ERRORS)), metric.name
        assert "1 of 2 classes" in metric.note or metric.name == "box calibration error"  # no box of the other one


def test_the_order_of_images_has_no_say(perfect, finding):
    results = []
    blind = (finding("d.jpg", scores={"cat": 0.5}, boxes=perfect[0][0].boxes), Sample(path="d.jpg", labels=["dog"]))
    for pairs in ([*perfect, blind], [blind, *perfect[::-1]]):
        evaluation = Evaluation(["cat", "dog"])
        for found, sample in pairs:
            evaluation.update(found, sample)
        results.append(evaluation.compute("x").to_json())
    assert results[0] == results[1]


def test_a_sample_without_boxes_serves_classification_only(finding):
    evaluation = Evaluation(["cat", "dog"])
    evaluation.update(finding(scores={"cat": 1, "dog": 0}), Sample(path="a.jpg", labels=["cat"]))
    assert [metric.name for metric in evaluation.compute("x").metrics] == [*ALL[:3], ERRORS[0]]


def test_metrics_without_predictions_behind_them_are_left_out(finding, annotated, boxes):
    evaluation = Evaluation(["dog"])
    evaluation.update(finding(scores={"dog": 1}, points={"dog": (1, 1)}), annotated(boxes(("dog", [0, 0, 9, 9]))))
    assert [metric.name for metric in evaluation.compute("x").metrics] == [
        *("mAP", "mAP (11-point)"),  # of one class the first is always right
        *("pointing", "pointing (pairs)", "point AP"),
        "calibration error",
    ]
    assert Evaluation(["dog"]).compute("x").metrics == ()


def test_masks_give_the_metrics_of_pixels(perfect, tmp_path):
    evaluation = Evaluation(["cat", "dog"], replicates=0)
    numbers = np.zeros((100, 100), np.uint8)
    numbers[:, :50] = 1
    for number, (found, sample) in zip((1, 2, 2), perfect, strict=True):
        mask = tmp_path / f"{sample.id}.png"
        Image.fromarray(numbers * np.uint8(number)).save(mask)
        evaluation.update(found, replace(sample, mask=mask, boxes=None))
    metrics = {metric.name: metric for metric in evaluation.compute("x").metrics}
    segm = [f"class mask {name}" for name in ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")]
    assert list(metrics) == [*ALL[:3], "PxAP", "mIoU", *segm, ERRORS[0]]
    assert [metrics[name].value for name in [*ALL[:3], "PxAP", "mIoU"]] == pytest.approx([1] * 5)
    assert metrics["class mask AP50"].value == pytest.approx(1)  # at a fifth of the range masks are a little wide
    assert {metric.interval for metric in metrics.values()} == {None}


def test_sizes_that_differ_are_refused_with_both(finding, annotated, boxes):
    sample = annotated(boxes(("dog", [0, 0, 9, 9])), size=(50, 100))
    with pytest.raises(UserError, match=r"a\.jpg.*100x50.*50x100"):
        Evaluation(["dog"]).update(finding(size=(100, 50)), sample)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_wrong_image_is_named_whichever_process_sees_it(finding, annotated, boxes, processes):
    """The last batch is observed here, while the other process starts."""
    there = boxes(("dog", [0, 0, 9, 9]))
    wrong = {17: (50, 50), 40: (30, 30)}
    pairs = [(finding(f"{i}.jpg", wrong.get(i, (100, 100))), annotated(there, f"{i}.jpg")) for i in range(48)]
    seen = []
    with pytest.raises(UserError, match=r"^17\.jpg"):
        seen.extend(found.path.stem for found, _ in Evaluation(["dog"], metrics=["CorLoc"]).stream(pairs, processes))
    assert seen == [str(i) for i in range(17 if processes == 1 else 16)]


def test_an_image_counts_once(perfect):
    evaluation = Evaluation(["cat", "dog"])
    evaluation.update(*perfect[0])
    with pytest.raises(UserError, match="twice"):
        evaluation.update(*perfect[0])


def test_names_that_never_meet_are_a_mix_up(finding, annotated, boxes):
    evaluation = Evaluation(["dog"])
    evaluation.update(finding(scores={"n02084071": 1}), annotated(boxes(("dog", [0, 0, 9, 9]))))
    with pytest.raises(UserError, match="'n02084071'"):
        evaluation.compute("x")
    evaluation.update(finding("b.jpg", scores={"dog": 1}), annotated(boxes(("dog", [0, 0, 9, 9])), "b.jpg"))
    assert evaluation.compute("x").images == 2


def test_nan_is_refused_and_unknown_classes_too(finding, annotated, boxes):
    dog = annotated(boxes(("dog", [0, 0, 9, 9])))
    with pytest.raises(UserError, match="NaN"):
        Evaluation(["dog"]).update(finding(scores={"dog": math.nan}), dog)
    with pytest.raises(UserError, match="finite"):
        Evaluation(["dog"]).update(finding(points={"dog": (1, math.nan)}), dog)
    with pytest.raises(UserError, match="unknown class 'dog'"):
        Evaluation(["cat"]).update(finding(), dog)
    with pytest.raises(UserError, match="report class 'emu'"):
        Evaluation(["cat"], report_classes=["emu"])


def test_a_metric_of_ones_own_is_one_class_and_a_line(perfect, monkeypatch):
    """It says what an image adds and what the sums mean; baseline, interval, note and merging are there."""

    class Tall(Statistic):
        needs, views = "boxes", ("found", "centre")

        def observe(self, seen):
            boxes = {label: seen.box(label) for label in seen.pairs}
            return Observation([Row(label, [box[3] - box[1] > 70], box is None) for label, box in boxes.items()])

        def report(self, totals):
            return self.rate(totals, "tall")

    monkeypatch.setitem(METRICS, "tall", lambda settings: settings.make(Tall))
    one, other, whole = (Evaluation(["cat", "dog"], metrics=["tall"]) for _ in range(3))
    for i, pair in enumerate(perfect):
        whole.update(*pair)
        (one, other)[i % 2].update(*pair)
    (metric,) = whole.compute("x").metrics
    assert (metric.name, metric.value, metric.baseline, metric.count, metric.images) == ("tall", 1.0, 0.0, 3, 3)
    assert (metric.interval, metric.note) == ((1.0, 1.0), "(image, class) pairs")
    one.statistics["tall"].merge(other.statistics["tall"])
    assert one.statistics["tall"].compute() == metric


def test_metrics_can_be_chosen_and_misspelt(perfect):
    evaluation = Evaluation(["cat", "dog"], metrics=["CorLoc", "mAP"])
    for pair in perfect:
        evaluation.update(*pair)
    assert [metric.name for metric in evaluation.compute("x").metrics] == ["mAP", "mAP (11-point)", "CorLoc"]
    with pytest.raises(UserError, match="no metric 'CorLok': did you mean 'CorLoc'\\? There are mAP"):
        Evaluation(["cat"], metrics=["CorLok"])


def lines_of(report):
    return report_table(report).splitlines()


def test_tables_have_straight_columns_and_three_decimals(perfect):
    evaluation = Evaluation(["cat", "dog"])
    for found, sample in perfect:
        evaluation.update(found, sample)
    lines = lines_of(evaluation.compute("x.jsonl", missing=1))
    assert lines[0] == "3 images of x.jsonl (1 more are annotated, and have no predictions)"
    for block in "\n".join(lines).split("\n\n")[1:]:
        rows = block.splitlines()
        columns = [[i for i, letter in enumerate(row) if letter == "|"] for row in rows]
        assert columns.count(columns[0]) == len(rows)
    summary = "\n".join(lines).split("\n\n")[1].splitlines()
    rows = [[cell.strip() for cell in row.split("|")[1:3]] for row in summary[2:]]
    assert rows == [[name, "1.000 †"] for name in ALL] + [[name, "0.000 †"] for name in ERRORS]  # of three images


def test_metrics_with_other_counts_stand_in_a_table_of_their_own():
    metrics = [
        Metric(name="one", value=0.5, per_class={"a": 0.5}, counts={"a": 2}),
        Metric(name="two", value=0.25, per_class={"a": 0.25}, counts={"a": 4}),
        Metric(name="three", value=1 / 3, per_class={"a": 1 / 3}, counts={"a": 2}),
    ]
    _, _, first, second = report_table(EvaluationReport(metrics=metrics, images=9, source="x")).split("\n\n")
    assert first.splitlines()[0].split() == ["|", "class", "|", "one", "|", "three", "|", "count", "|"]
    assert first.splitlines()[2].split() == ["|", "a", "|", "0.500", "|", "0.333", "|", "2", "|"]
    assert second.splitlines()[2].split() == ["|", "a", "|", "0.250", "|", "4", "|"]


def test_a_bar_in_a_name_does_not_break_the_table():
    metric = Metric(name="m", value=None, per_class={"a|b": 0.5}, counts={"a|b": 1}, note="x\ny")
    lines = lines_of(EvaluationReport(metrics=(metric,), images=1, source="x"))
    assert r"a\|b" in lines[-1]
    assert lines[4].endswith("| x y  |")


def test_a_report_without_metrics_says_so():
    assert "Nothing to measure" in report_table(EvaluationReport(metrics=(), images=0, source="x"))


@pytest.mark.parametrize(
    ("size", "hint"), [((30, 40), "turn the annotation by the EXIF"), ((20, 15), "localize the im")]
)
def test_another_size_is_refused_with_its_likely_reason(finding, size, hint):
    sample = Sample(path="a.jpg", labels=["dog"], size=size)
    with pytest.raises(UserError, match=f"localized at 40x30 pixels, .*expected one size: {hint}"):
        Evaluation(["dog"]).update(finding("a.jpg", (40, 30)), sample)
