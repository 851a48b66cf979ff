"""The reports of three small data sets to the digit, as the version before the engine of statistics gave them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from wsl.metrics import Evaluation
from wsl.results import BoxOrigin

SELECTED = {"MaxBoxAcc": (0.2, 0.3, 0.42), "MaxBoxAccV2": (0.211, 0.35, 0.5)}
SETTINGS = {
    "voc": {"boxes": BoxOrigin(threshold=0.31, box_rule="largest", origin="selected on train", by_metric=SELECTED)},
    "coco": {"report_classes": ("cat", "dog", "gnu")},
    "wsol": {
        "protocol": "wsolevaluation",
        "boxes": BoxOrigin(threshold=0.25, box_rule="peak", origin="given"),
    },
}
# Counts of images summed over the classes were called images.
UNITS = {
    "images": "(image, class) pairs",
    "positive images": "positive (image, class) pairs",
    "mIoU": "(image, class) pairs with background",
}
NEW = ("calibration error", "box calibration error")


@pytest.fixture(scope="module", params=SETTINGS)
def reports(request, tmp_path_factory, reference):
    """What stands in ``reports/``, and what is measured now, one of them by several processes."""
    name, processes = request.param, 2 if request.param == "voc" else 1
    evaluation = Evaluation(reference.data_sets.CLASSES, **SETTINGS[name])
    pairs = list(reference.data_sets.SCENES[name](tmp_path_factory.mktemp(name)))
    assert [found.path for found, _ in evaluation.stream(iter(pairs), processes)] == [found.path for found, _ in pairs]
    kept = json.loads((Path(__file__).parent / "reports" / f"{name}.json").read_text(encoding="utf-8"))
    report = replace(evaluation.compute(name, missing=2), protocol=SETTINGS[name].get("protocol", "default"))
    return kept, evaluation, report.to_json()


def near(number, tolerance):
    return None if number is None else pytest.approx(number, rel=tolerance, abs=tolerance)


def test_every_number_is_the_same(reports):
    kept, _, now = reports
    metrics = {name: metric for name, metric in now["metrics"].items() if name not in NEW}
    before = {name.replace("COCO segm", "class mask"): metric for name, metric in kept["metrics"].items()}
    assert list(metrics) == list(before)
    for name, metric in before.items():
        mine = metrics[name]
        if not name.startswith("class mask"):
            unit, *more = metric["note"].split("; ")
            unit = UNITS.get(name, UNITS.get(unit, unit))
            assert mine["note"] == "; ".join([unit, *more]), name
        assert mine["counts"] == metric["counts"], name
        # The benchmark's maps were made in single precision before.
        tolerance = 1e-5 if name == "PxAP" and now["protocol"] == "wsolevaluation" else 1e-12
        for field in ("value", "baseline", "whole_image", "per_class"):
            assert mine[field] == near(metric[field], tolerance), (name, field)
        # COCO's intervals were read at exact hundredths of the recall, and not where COCOeval reads its AP.
        loose = name.startswith(("COCO", "class mask"))
        if name.startswith("BoxAcc"):  # which had no interval
            assert mine["interval"][0] <= mine["value"] <= mine["interval"][1]
            continue
        assert mine["interval"] == near(metric["interval"], 2e-3 if loose else tolerance), name


def test_the_curves_over_the_threshold_are_the_same(reports):
    kept, evaluation, _ = reports
    curves = evaluation.statistics["CorLoc-pairs"].accuracies()
    assert {rule: curve.tolist() for rule, curve in curves.items()} == kept["curves"]
