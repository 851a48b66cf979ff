import copy

import cv2
import numpy as np
import pytest
import torch

from wsl.cam.baselines import centre_gaussian
from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics import Faithfulness, Probe, TorchMetric, confidence_change, insertion_deletion
from wsl.samples import Sample

WEIGHTS = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))


def model(images):
    """Two classes, each with pixels that it looks at."""
    logits = torch.einsum("nchw,kchw->nk", images, WEIGHTS.to(images) - 0.5)
    return logits.softmax(dim=1)


def picture(seed=1):
    return torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def read(path):
    return picture(int(path.stem))


def probe(path):
    return Probe(read(path), model)


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_curves_are_those_of_rise(reference, batch_size):
    image, score_map = picture(), np.random.default_rng(0).random((6, 8)).astype(np.float32)
    found = insertion_deletion(model, image, score_map, 1, steps=12, removed=0.25, batch_size=batch_size)

    def score(pixels):
        return float(model(torch.from_numpy(pixels)[None])[0, 1])

    pixels = image.numpy()
    gone = np.full_like(pixels, 0.25)
    curve, area = reference.metrics.causal_curve(score, pixels, gone, score_map, 4)
    np.testing.assert_allclose(found.deletion, curve)
    assert found.deletion_area == pytest.approx(area)
    blurred = np.stack([cv2.GaussianBlur(c, (11, 11), 5, borderType=cv2.BORDER_CONSTANT) for c in pixels])
    curve, area = reference.metrics.causal_curve(score, blurred, pixels, score_map, 4)
    np.testing.assert_allclose(found.insertion, curve)
    assert found.insertion_area == pytest.approx(area)


def test_steps_are_equal_and_cover_every_pixel_once():
    image = torch.ones(1, 5, 7)
    curves = insertion_deletion(lambda x: x.mean(dim=(1, 2, 3))[:, None], image, np.eye(3), 0, steps=6)
    assert len(curves.deletion) == 7
    steps = -np.diff(curves.deletion) * 35
    assert np.allclose(steps, np.rint(steps), atol=1e-4)
    assert set(np.rint(steps)) == {5, 6}
    assert (curves.deletion[0], curves.deletion[-1]) == (1, 0)


def test_a_map_of_the_pixels_that_count_beats_its_opposite():
    image = torch.ones(3, 6, 8, dtype=torch.float64)
    useful = (WEIGHTS[1] - WEIGHTS[0]).sum(dim=0).numpy()
    right, wrong = (insertion_deletion(model, image, sign * useful, 1, steps=48) for sign in (1, -1))
    assert right.insertion_area > wrong.insertion_area
    assert right.deletion_area < wrong.deletion_area


def test_average_drop_and_increase_are_those_of_grad_cam_pp():
    image, score_map = picture(3), np.random.default_rng(3).random((3, 4))
    for index in (0, 1):
        before = float(model(image[None])[0, index])
        shown = image * torch.from_numpy(heatmap(score_map, (8, 6)))
        after = float(model(shown[None])[0, index])
        drop, rises = confidence_change(model, image, score_map, index)
        assert drop == pytest.approx(max(0, before - after) / before)
        assert rises == (after > before)
    assert confidence_change(lambda x: torch.zeros(len(x), 1), image, score_map, 0) == (0.0, False)


def pairs(finding):
    rng = np.random.default_rng(5)
    for i in range(8):
        labels = ["cat", "dog"][: 1 + i % 2]
        maps = {label: rng.random((3, 4)).astype(np.float32) for label in labels}
        yield finding(f"{i}.jpg", maps=maps), Sample(path=f"{i}.jpg", labels=labels)


def test_streaming_is_the_mean_over_pairs_by_class_and_merges(finding):
    whole, one, other = (Faithfulness(["cat", "dog"], probe=probe, steps=8) for _ in range(3))
    values = {"cat": [], "dog": []}
    baseline = []
    for i, (found, sample) in enumerate(pairs(finding)):
        whole.update(found, sample)
        (one if i < 3 else other).update(found, sample)
        for label in sample.labels:
            index = ["cat", "dog"].index(label)
            curves = insertion_deletion(model, read(sample.path), found.maps[label], index, steps=8)
            change = confidence_change(model, read(sample.path), found.maps[label], index)
            values[label].append([curves.insertion_area, curves.deletion_area, *change])
            centre = insertion_deletion(model, read(sample.path), centre_gaussian((8, 6)), index, steps=8)
            baseline.append((label, centre.insertion_area))
    one.merge(other)
    metrics = whole.compute()
    for column, (metric, merged) in enumerate(zip(metrics, one.compute(), strict=True)):
        means = {label: np.mean([row[column] for row in rows]) for label, rows in values.items()}
        assert metric.per_class == pytest.approx(means)
        assert metric.value == pytest.approx(np.mean(list(means.values())))
        assert metric.counts == {"cat": 8, "dog": 4}
        assert merged.value == pytest.approx(metric.value)
        assert merged.interval == pytest.approx(metric.interval)
    by_class = [np.mean([value for name, value in baseline if name == label]) for label in values]
    assert metrics[0].baseline == pytest.approx(np.mean(by_class))
    assert [metric.lower_is_better for metric in metrics] == [False, True, True, False]
    assert copy.deepcopy(whole).compute() == metrics


def test_pairs_without_a_map_are_left_out_and_counted(finding):
    metric = Faithfulness(["dog"], probe=probe, steps=2)
    sample = Sample(path="1.jpg", labels=["dog"])
    metric.update(finding("1.jpg"), sample)
    assert [found.value for found in metric.compute()] == [None] * 4
    metric.update(finding("1.jpg", maps={"dog": np.eye(3, dtype=np.float32)}), sample)
    metric.update(finding("1.jpg", maps={"dog": np.full((3, 3), np.nan, np.float32)}), sample)
    assert metric.compute()[0].count == 1
    assert "2 without a map" in metric.compute()[0].note


def test_a_network_is_no_part_of_the_metric():
    class Asking(torch.nn.Linear):
        def forward(self, path):
            return Probe(read(path), model)

    assert not list(TorchMetric(Faithfulness(["dog"], probe=Asking(3, 1))).parameters())


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"batch_size": 0}])
def test_numbers_out_of_range_are_refused_before_any_image(arguments):
    with pytest.raises(UserError, match="expected 1 or more of each"):
        Faithfulness(["dog"], probe=probe, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": torch.zeros(6, 8)}, "expected floats"),
        ({"image": torch.zeros(3, 6, 8, dtype=torch.uint8)}, "expected floats"),
        ({"score_map": np.zeros(3)}, r"expected \(h, w\)"),
        ({"class_index": 2}, "with class 2"),
        ({"steps": 0}, "expected 1 or more"),
        ({"blur": (4, 1.0)}, "odd kernel"),
        ({"model": lambda images: images.mean(dim=(1, 2, 3))}, r"expected \(images, classes\)"),
        ({"model": lambda images: model(images) * 3}, "expected probabilities"),
        ({"model": lambda images: model(images) * np.nan}, "expected probabilities"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    given = {"model": model, "image": picture(), "score_map": np.eye(3), "class_index": 0, **arguments}
    with pytest.raises(UserError, match=message):
        insertion_deletion(**given)


def test_an_image_is_read_once_for_its_maps_and_the_baseline(finding):
    read_paths = []

    def counted(path):
        read_paths.append(path)
        return probe(path)

    metric = Faithfulness(["cat", "dog"], probe=counted, steps=2)
    maps = {label: np.eye(3, dtype=np.float32) for label in ("cat", "dog")}
    metric.update(finding("1.jpg", maps=maps), Sample(path="1.jpg", labels=["cat", "dog"]))
    assert len(read_paths) == 1
