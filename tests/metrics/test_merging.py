"""Halves of a data set that were measured apart add up to the whole, for every streaming metric."""

import inspect
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import wsl.metrics
from wsl.errors import UserError
from wsl.metrics import CocoAP, Statistic, TorchMetric

CLASSES = ("cat", "dog", "emu")
SPECIAL = ("Faithfulness", "FlipStability")  # these ask a model
METRICS = {
    name: kind
    for name, kind in vars(wsl.metrics).items()
    if inspect.isclass(kind) and issubclass(kind, Statistic) and name not in ("Statistic", *SPECIAL)
}


def make(name):
    return TorchMetric(METRICS[name](CLASSES))


@pytest.fixture(scope="module")
def scenes(finding, annotated, boxes, tmp_path_factory):
    """Predictions near and far from the ground truth; one image each without annotations or predictions."""
    folder = tmp_path_factory.mktemp("masks")
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(16):
        labels = rng.choice(CLASSES[:2], rng.integers(0 if i == 3 else 1, 3))
        near_corners = rng.integers(0, 60, (len(labels), 2))
        corners = np.concatenate([near_corners, near_corners + rng.integers(5, 40, near_corners.shape)], axis=1)
        hard = [["difficult"] * int(rng.random() < 0.2) for _ in labels]
        near = [xyxy + rng.integers(0, 4, 2).repeat(2) for xyxy in corners] if i != 5 else []
        there = [(label, xyxy, 1, *flag) for label, xyxy, flag in zip(labels, corners, hard, strict=True)]
        found = finding(
            f"{i}.jpg",
            scores=dict(zip(CLASSES, rng.random(3).round(1).tolist(), strict=True)),
            boxes=boxes(*((label, xyxy, rng.random()) for label, xyxy in zip(labels, near, strict=False))),
            points={label: tuple(rng.integers(0, 100, 2).tolist()) for label in labels},
            maps={label: rng.random((5, 5)).astype(np.float32) for label in CLASSES},
        )
        numbers = rng.choice([0, 255, *(CLASSES.index(label) + 1 for label in labels)], (100, 100))
        Image.fromarray(numbers.astype(np.uint8)).save(folder / f"{i}.png")
        pairs.append((found, replace(annotated(boxes(*there), f"{i}.jpg"), mask=folder / f"{i}.png")))
    return pairs


def measured(name, pairs):
    metric = make(name)
    for pair in pairs:
        metric.update(*pair)
    return metric


@pytest.mark.parametrize("name", METRICS)
def test_merged_halves_are_the_whole(name, scenes):
    whole = measured(name, scenes).compute()
    one, other = measured(name, scenes[:5]), measured(name, scenes[5:])
    one.compute()
    one.merge_state(other)
    assert one.compute() == whole
    empty = make(name)
    empty.merge_state(one)
    assert empty.compute() == whole


@pytest.mark.parametrize("name", METRICS)
def test_without_torchmetrics_it_is_the_same(name, scenes):
    whole, one, other = (METRICS[name](CLASSES) for _ in range(3))
    for i, pair in enumerate(scenes):
        whole.update(*pair)
        (one, other)[i % 2].update(*pair)
    one.merge(other)
    assert one.compute() == whole.compute() == measured(name, scenes).compute()


@pytest.mark.parametrize("name", METRICS)
def test_reading_changes_nothing_and_is_never_stale(name, scenes):
    metric = make(name)
    for i, pair in enumerate(scenes, start=1):
        metric.update(*pair)
        if i % 8 == 0:
            assert metric.compute() == metric.compute() == measured(name, scenes[:i]).compute()
    metric.reset()
    assert metric.compute() == make(name).compute()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_survives_a_copy_and_gives_one_image_by_forward(name, scenes):
    metric = measured(name, scenes[:9])
    copy = metric.clone()
    assert metric(*scenes[9]) == measured(name, scenes[9:10]).compute()
    copy.update(*scenes[9])
    assert copy.compute() == metric.compute()


def test_what_was_given_stays_the_callers(finding, annotated, boxes):
    one, other = CocoAP(["dog"], replicates=0), CocoAP(["dog"], replicates=0)
    there, found = boxes(("dog", [0, 0, 9, 9])), boxes(("dog", [0, 0, 9, 9]))
    for metric in (one, other):
        metric.update(finding(boxes=found), annotated(there))
    found.xyxy[:] = 0
    assert one.compute() == other.compute()
    assert one.compute()[0].value == pytest.approx(1)


def measure_share(rank, folder, names, classes, scenes, cuts):
    """What one of two processes computes, which sees the scenes before a cut or those behind it."""
    import datetime

    import torch.distributed

    from wsl import metrics

    meeting = {"init_method": f"file://{folder}/meeting", "timeout": datetime.timedelta(minutes=5)}
    torch.distributed.init_process_group("gloo", **meeting, rank=rank, world_size=2)
    found = {}
    for name in names:
        for cut in cuts:
            metric = metrics.TorchMetric(getattr(metrics, name)(classes))
            for pair in (scenes[:cut], scenes[cut:])[rank]:
                metric.update(*pair)
            found[name, cut] = metric.compute()
    torch.distributed.destroy_process_group()
    return found


OTHER = f"""
import pickle, sys
from pathlib import Path
folder = Path(sys.argv[1])
given = pickle.loads((folder / "given").read_bytes())
{inspect.getsource(measure_share)}
(folder / "found").write_bytes(pickle.dumps(measure_share(1, folder, *given)))
"""


@pytest.mark.long
def test_processes_add_up_by_themselves_even_one_without_images(scenes, tmp_path):
    # This process, and one more Python that loads torch and torchmetrics, for what no fake of torch.distributed shows.
    cuts = (5, len(scenes))
    given = (list(METRICS), CLASSES, scenes, cuts)
    (tmp_path / "given").write_bytes(pickle.dumps(given))
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        mine = measure_share(0, tmp_path, *given)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    whole = {}
    for name in METRICS:
        metric = measured(name, scenes)
        whole[name] = metric.compute()
    for found in (mine, pickle.loads((tmp_path / "found").read_bytes())):  # noqa: S301 -- our own bytes
        assert found == {(name, cut): whole[name] for name in METRICS for cut in cuts}


@pytest.mark.parametrize(
    "other",
    [
        wsl.metrics.CorLoc(["dog"]),
        wsl.metrics.CorLoc(["cat"], iou_threshold=0.3),
        wsl.metrics.CorLoc(["cat"], replicates=0),
        wsl.metrics.PointingGame(["cat"]),
    ],
    ids=["classes", "threshold", "replicates", "metric"],
)
def test_another_metric_or_itself_is_not_merged(other):
    metric = wsl.metrics.CorLoc(["cat"])
    with pytest.raises(UserError, match=r"expected the same metric with the same classes and settings"):
        metric.merge(other)
    with pytest.raises(UserError, match=r"merged with itself"):
        metric.merge(metric)
    metric.merge(wsl.metrics.CorLoc(["cat"]))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: wsl.metrics.PxAP(["cat"], protocol="wsol"), "protocol is 'wsol'"),
        (lambda: wsl.metrics.MaxBoxAcc(["cat"], protocol="wsol"), "protocol is 'wsol'"),
        (lambda: wsl.metrics.ThresholdChoice(["cat"], num_thresholds=0), "number of thresholds is 0"),
        (lambda: wsl.metrics.MeanIoU(["cat"], num_thresholds=10**6), "expected 1 to 10000"),
        (lambda: wsl.metrics.Calibration(["cat"], bins=0), "bins are 0"),
        (lambda: wsl.metrics.calibration_error([0.5], [True], bins=0), "bins are 0"),
        (lambda: wsl.metrics.pointing_hit((1, 2, 3), [[0, 0, 5, 5]]), "point is \\(1, 2, 3\\), expected finite"),
        (lambda: wsl.metrics.point_within((1,), [[0, 0, 5, 5]]), "point is \\(1,\\), expected finite"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(make, told):
    with pytest.raises(UserError, match=told):
        make()


@pytest.mark.parametrize(
    "wrong",
    [["a", "b"], [[1.0], [1.0, 2.0]], [object()], ["0.5", "x"]],
    ids=["words", "ragged", "objects", "a word among numbers"],
)
@pytest.mark.parametrize(
    "measure",
    [
        lambda wrong: wsl.metrics.average_precision(wrong, [1, 0]),
        lambda wrong: wsl.metrics.average_precision([0.5, 0.2], wrong),
        lambda wrong: wsl.metrics.box_iou(wrong, [[0, 0, 1, 1]]),
        lambda wrong: wsl.metrics.calibration_error(wrong, [True, False]),
        lambda wrong: wsl.metrics.class_iou([wrong], [[[0, 1]]], 2),
        lambda wrong: wsl.metrics.class_ranks(wrong, [0, 1]),
        lambda wrong: wsl.metrics.corloc([wrong], [[[0, 0, 1, 1]]]),
        lambda wrong: wsl.metrics.failure(wrong, [[0, 0, 1, 1]], []),
        lambda wrong: wsl.metrics.histogram_ap(wrong),
        lambda wrong: wsl.metrics.map_correlation(wrong, [1, 2]),
        lambda wrong: wsl.metrics.max_box_acc([wrong], [[0, 0, 1, 1]]),
        lambda wrong: wsl.metrics.max_box_acc([[[0, 1]]], [wrong]),
        lambda wrong: wsl.metrics.point_ap([(1, 1)] * len(wrong), wrong, [[[0, 0, 9, 9]]] * len(wrong)),
        lambda wrong: wsl.metrics.pointing_hit(wrong, [[0, 0, 1, 1]]),
        lambda wrong: wsl.metrics.pointing_hit_pixels((1, 1), wrong),
        lambda wrong: wsl.metrics.score_histograms(wrong, [True, False]),
        lambda wrong: wsl.Boxes(xyxy=wrong, labels=["dog"]),
        lambda wrong: wsl.Boxes(xyxy=[[0, 0, 1, 1]], labels=["dog"], scores=wrong),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(measure, wrong):
    with pytest.raises(UserError, match=r"are not numbers \(.*\): expected an array of numbers"):
        measure(wrong)


def test_arrays_of_other_shapes_are_refused():
    with pytest.raises(UserError, match=r"maps have shapes \(1, 2\) and \(2, 1\), expected one shape"):
        wsl.metrics.map_correlation([[0, 1]], [[0], [1]])
    with pytest.raises(UserError, match=r"boxes have shape \(3,\), expected \(n, 4\)"):
        wsl.Boxes(xyxy=[1, 2, 3], labels=["dog"])
