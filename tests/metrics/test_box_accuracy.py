import numpy as np
import pytest

from wsl import maps as class_maps
from wsl.errors import UserError
from wsl.metrics import MaxBoxAcc, MaxBoxAccV2, box_iou, max_box_acc, max_box_acc_v2
from wsl.metrics.bootstrap import image_key, percentile_interval, poisson_weights
from wsl.samples import Sample

LEVELS = (0.3, 0.5, 0.7)


def staircase(*widths):
    """A (1, 20) map whose foreground is `widths[i]` cells wide above a threshold of i tenths."""
    row = np.zeros(20, np.float32)
    for i, width in enumerate(widths, start=1):
        row[:width] = i / len(widths)
    return row[None]


def by_loops(maps, targets, sizes, num_thresholds):
    """Every threshold and image by itself."""
    results = []
    for level in LEVELS:
        accuracies = []
        for i in range(num_thresholds):
            hits = 0
            for score_map, target, size in zip(maps, targets, sizes, strict=True):
                found = class_maps.boxes_from_map(score_map, threshold=i / num_thresholds, size=size).xyxy
                hits += any(box_iou(box, truth)[0, 0] >= level for box in found for truth in target)
            accuracies.append(hits / len(maps))
        best = max(accuracies)
        results.append((level, best, accuracies.index(best) / num_thresholds))
    return results


def test_one_pass_is_the_same_as_every_threshold_by_itself():
    rng = np.random.default_rng(5)
    maps, targets, sizes = [], [], []
    for _ in range(12):
        y, x = np.mgrid[:9, :9]
        cx, cy = rng.uniform(2, 7, 2)
        maps.append((np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8) + rng.uniform(0, 0.2, (9, 9))).astype(np.float32))
        near = np.array([cx, cy]) * 8
        targets.append([[*(near - rng.uniform(10, 25, 2)), *(near + rng.uniform(10, 25, 2))]])
        sizes.append((int(rng.integers(70, 90)), int(rng.integers(70, 90))))
    assert [tuple(level) for level in max_box_acc(maps, targets, LEVELS, sizes=sizes, num_thresholds=20)] == by_loops(
        maps, targets, sizes, 20
    )


def test_the_threshold_is_one_for_the_data_set_never_one_an_image():
    # Each map has a threshold at which its box is exact; no threshold suits both.
    one, other = staircase(16, 16, 4), staircase(16, 4, 4)
    targets = [[0, 0, 16, 1], [0, 0, 16, 1]]
    assert max_box_acc([one, other], targets, [0.7])[0].accuracy == 1
    apart = [[0, 0, 4, 1], [0, 0, 16, 1]]
    assert max_box_acc([one], apart[:1], [0.7])[0].accuracy == 1
    assert max_box_acc([other], apart[1:], [0.7])[0].accuracy == 1
    assert max_box_acc([one, other], apart, [0.7])[0].accuracy == 0.5


def test_each_iou_level_has_its_own_threshold_the_lowest_of_equals():
    result = max_box_acc([staircase(10, 6)], [[0, 0, 6, 1]], [0.6, 0.7], num_thresholds=10)
    assert [level.map_threshold for level in result] == [0.0, 0.5]  # 6/10 is enough for the first
    assert [level.accuracy for level in result] == [1, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        {"maps": []},
        {"boxes": []},
        {"iou_thresholds": [0]},
        {"iou_thresholds": []},
        {"num_thresholds": 0},
        {"sizes": []},
    ],
)
def test_nonsense_is_refused(arguments):
    with pytest.raises(UserError, match="expected"):
        max_box_acc(**{"maps": [np.eye(2)], "boxes": [[0, 0, 1, 1]], **arguments})


def test_streaming_is_the_pure_function(finding, annotated, boxes):
    rng = np.random.default_rng(1)
    maps = rng.uniform(size=(10, 5, 5)).astype(np.float32)
    targets = [[x, y, x + 60, y + 60] for x, y in rng.integers(0, 40, (10, 2))]
    metric = MaxBoxAcc(["cat", "dog"], LEVELS)
    for i, (score_map, target) in enumerate(zip(maps, targets, strict=True)):
        label = ["cat", "dog"][i > 2]
        metric.update(finding(maps={label: score_map}), annotated(boxes((label, target))))
    expected = max_box_acc(maps, targets, LEVELS, sizes=[(100, 100)] * 10)
    for found, level in zip(metric.compute(), expected, strict=True):
        assert found.name == f"MaxBoxAcc@{level.iou_threshold}"
        assert found.value == pytest.approx(level.accuracy)
        assert f"best threshold {level.map_threshold:g} on the evaluated split" in found.note
        assert found.counts == {"cat": 3, "dog": 7}
        assert found.value == pytest.approx((3 * found.per_class["cat"] + 7 * found.per_class["dog"]) / 10)


def test_the_threshold_is_picked_for_the_report_classes(finding, annotated, boxes):
    metric = MaxBoxAcc(["cat", "dog"], [0.7], report_classes=["dog"])
    size = (20, 1)
    metric.update(finding(maps={"dog": staircase(16, 4)}, size=size), annotated(boxes(("dog", [0, 0, 4, 1]))))
    for _ in range(3):
        metric.update(finding(maps={"cat": staircase(16, 4)}, size=size), annotated(boxes(("cat", [0, 0, 16, 1]))))
    (found,) = metric.compute()
    assert found.value == 1
    assert found.per_class == {"cat": 0.0, "dog": 1.0}


def test_only_images_with_exactly_one_easy_object_count(finding, annotated, boxes):
    found = finding(maps={"dog": staircase(10)})
    one, hard = ("dog", [0, 0, 50, 100]), ("dog", [0, 0, 50, 100], 1, "difficult")
    for rows, single, every in [((one,), 1, 1), ((one, one), 0, 1), ((one, hard), 0, 1), ((hard,), 0, 0), ((), 0, 0)]:
        for single_object, count in ((True, single), (False, every)):
            metric = MaxBoxAcc(["dog"], [0.5], single_object=single_object)
            metric.update(found, annotated(boxes(*rows)))
            assert metric.compute()[0].count == count


def test_without_a_usable_map_it_is_a_miss_that_the_note_counts(finding, annotated, boxes):
    sample = annotated(boxes(("dog", [0, 0, 50, 100])))
    metric = MaxBoxAcc(["dog"], [0.5])
    metric.update(finding(), sample)
    assert metric.compute()[0].value is None
    metric.update(finding(maps={"dog": staircase(10)}), sample)
    metric.update(finding(maps={"cat": staircase(10)}), sample)
    metric.update(finding(maps={"dog": np.full((2, 2), np.nan, np.float32)}), sample)
    (found,) = metric.compute()
    assert found.value == pytest.approx(1 / 4)
    assert "3 without a map" in found.note


def test_a_map_without_contrast_is_a_miss(finding, annotated, boxes):
    metric = MaxBoxAcc(["dog"], [0.5])
    metric.update(finding(maps={"dog": np.ones((3, 3), np.float32)}), annotated(boxes(("dog", [0, 0, 100, 100]))))
    assert metric.compute()[0].value == 0


def test_unannotated_samples_are_refused(finding):
    with pytest.raises(UserError, match="no boxes are annotated"):
        MaxBoxAcc(["dog"]).update(finding(), Sample(path="a.jpg", labels=["dog"]))


def published(reference, maps, targets, candidates):
    """Successes at every threshold and level, counted over the images."""
    sweep = reference.threshold_sweep
    found = [sweep.overlaps_by_level(m, t, [candidates])[0] for m, t in zip(maps, targets, strict=True)]
    return np.array([sum(best >= level for best in found) for level in LEVELS])


def benchmark_maps(count, side=48):
    rng = np.random.default_rng(9)
    maps = [class_maps.benchmark_map(rng.standard_normal((7, 7)), (side, side)) for _ in range(count)]
    corners = np.sort(rng.integers(0, side, (count, 2, 2)), axis=1).reshape(count, 1, 4)
    return maps, corners


@pytest.mark.parametrize("candidates", ["largest", "all"])
def test_the_benchmarks_protocol_gives_the_published_accuracies_and_thresholds(reference, candidates):
    maps, targets = benchmark_maps(25)
    hits = published(reference, maps, targets, candidates)
    result = max_box_acc(maps, targets, LEVELS, protocol="wsolevaluation", candidates=candidates, num_thresholds=1000)
    assert [level.accuracy for level in result] == (hits.max(axis=1) / 25).tolist()
    assert [level.map_threshold for level in result] == np.arange(0, 1, 0.001)[hits.argmax(axis=1)].tolist()
    if candidates == "all":
        expected = (hits.max(axis=1) / 25).mean()
        assert max_box_acc_v2(maps, targets, LEVELS, protocol="wsolevaluation") == pytest.approx(expected, abs=1e-15)


def test_all_candidates_find_what_the_largest_misses():
    score_map = np.zeros((20, 20))
    score_map[2:12, 2:12] = 0.8
    score_map[15:19, 15:19] = 1
    small = [15, 15, 19, 19]
    assert [level.accuracy for level in max_box_acc([score_map], [small], [0.9], num_thresholds=5)] == [1]
    below = max_box_acc([score_map] * 2, [small, [2, 2, 12, 12]], [0.9], num_thresholds=5)
    assert below[0].accuracy == 0.5, "no threshold makes both the largest"
    assert max_box_acc_v2([score_map] * 2, [small, [2, 2, 12, 12]], [0.9]) == 1


@pytest.mark.parametrize("kind", [MaxBoxAcc, MaxBoxAccV2])
def test_streaming_by_the_benchmarks_protocol_scales_maps_and_boxes(finding, annotated, boxes, kind):
    rng = np.random.default_rng(2)
    maps = rng.standard_normal((8, 7, 7)).astype(np.float32)
    targets = np.sort(rng.integers(0, 100, (8, 2, 2)), axis=1).reshape(8, 4) + np.array([0, 0, 1, 1])
    metric = kind(["dog"], LEVELS, protocol="wsolevaluation", num_thresholds=50, replicates=0)
    for score_map, target in zip(maps, targets, strict=True):
        metric.update(finding(maps={"dog": score_map}), annotated(boxes(("dog", target.tolist()))))
    expected = max_box_acc(
        [class_maps.benchmark_map(score_map) for score_map in maps],
        [[[int(x * 2.24) for x in (x0, y0, x1 - 1, y1 - 1)]] for x0, y0, x1, y1 in targets.tolist()],
        LEVELS,
        protocol="wsolevaluation",
        candidates=kind.candidates,
        num_thresholds=50,
    )
    levels = metric.compute()[-3:]
    assert [level.value for level in levels] == [level.accuracy for level in expected]
    assert levels[0].name == f"{kind.__name__}@0.3 (wsolevaluation)"


def test_version_2_is_the_mean_of_its_levels_and_halves_add_up(finding, annotated, boxes):
    rng = np.random.default_rng(3)
    halves, whole = [MaxBoxAccV2(["cat", "dog"]) for _ in range(2)], MaxBoxAccV2(["cat", "dog"])
    for i in range(12):
        found = finding(name=f"{i}.jpg", maps={label: rng.random((6, 6), np.float32) for label in ("cat", "dog")})
        x, y = rng.integers(0, 50, 2)
        sample = annotated(boxes((["cat", "dog"][i % 2], [x, y, x + 30, y + 30])), name=f"{i}.jpg")
        halves[i % 2].update(found, sample)
        whole.update(found, sample)
    mean, *levels = whole.compute()
    assert mean.name == "MaxBoxAccV2"
    assert mean.value == pytest.approx(sum(level.value for level in levels) / 3)
    assert mean.per_class["cat"] == pytest.approx(sum(level.per_class["cat"] for level in levels) / 3)
    assert mean.baseline == pytest.approx(sum(level.baseline for level in levels) / 3)
    assert mean.interval[0] <= mean.value <= mean.interval[1]
    halves[0].merge(halves[1])
    assert halves[0].compute() == whole.compute()
    assert MaxBoxAccV2(["cat"]).compute()[0].value is None


def test_an_unknown_protocol_is_refused_at_once():
    with pytest.raises(UserError, match="expected default or wsolevaluation"):
        MaxBoxAcc(["dog"], protocol="imagenet")


def test_the_interval_is_of_the_best_threshold_of_each_replicate(finding, annotated, boxes):
    rng = np.random.default_rng(6)
    metric = MaxBoxAcc(["cat", "dog"], [0.5], num_thresholds=10, replicates=40, report_classes=["dog"])
    hits, keys = [], []
    for i in range(15):
        score_map, width = staircase(*rng.integers(1, 20, 3)), int(rng.integers(4, 20))
        label = "cat" if i % 5 == 4 else "dog"
        sample = annotated(boxes((label, [0, 0, width, 1])), f"{i}.jpg", (20, 1))
        metric.update(finding(maps={label: score_map}, size=(20, 1)), sample)
        if label == "dog":
            found = class_maps.largest_boxes(score_map, np.arange(10) / 10)
            hits.append(box_iou(found, [0, 0, width, 1])[:, 0] >= 0.5)
            keys.append(image_key(sample.path))
    weights = poisson_weights(keys, 40).astype(int)
    accuracy = (weights.T @ np.array(hits)).max(axis=1) / weights.sum(axis=0)
    assert metric.compute()[0].interval == pytest.approx(percentile_interval(accuracy, metric.compute()[0].value))


def test_the_whole_image_is_a_box_too(finding, annotated, boxes):
    metric = MaxBoxAcc(["dog"], [0.5])
    for i, width in enumerate((100, 49)):
        metric.update(finding(maps={"dog": staircase(10)}), annotated(boxes(("dog", [0, 0, width, 100])), f"{i}.jpg"))
    (found,) = metric.compute()
    assert found.whole_image == 0.5
