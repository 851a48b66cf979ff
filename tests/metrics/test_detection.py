from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics import CocoAP, VOCDetectionAP, centre_box, match_boxes, voc_detection_ap
from wsl.metrics.bootstrap import image_key, percentile_interval, poisson_weights
from wsl.results import Localization
from wsl.samples import Sample

METHODS = ("all-point", "11-point", "11-point-python", "11-point-matlab")


def scene(seed, images=6, distinct=True):
    """Random true boxes and detections near them in VOC's corners, which count from 1 and are inclusive."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for image in range(images):
        instances = []
        for _ in range(rng.integers(0, 4)):
            x, y, w, h = rng.integers(1, 25, 4)
            instances.append(([int(x), int(y), int(x + w), int(y + h)], bool(rng.random() < 0.3)))
        for box, _ in instances + instances:
            x0, y0, x1, y1 = (int(edge) for edge in np.array(box) + rng.integers(-2, 3, 4))
            detections.append((image, [x0, y0, max(x0, x1), max(y0, y1)]))
        detections.append((image, [1, 1, int(rng.integers(1, 30)), int(rng.integers(1, 30))]))
        truths.append(instances)
    truths[0].append(([3, 3, 9, 9], False))
    scores = rng.permutation(len(detections)) if distinct else rng.integers(0, 4, len(detections))
    return [(image, float(s), box) for (image, box), s in zip(detections, scores, strict=True)], truths


def half_open(voc_boxes, scores=(), difficult=()):
    xyxy = np.array(voc_boxes, np.float32).reshape(-1, 4) - [1, 1, 0, 0]
    return Boxes(xyxy=xyxy, labels=("dog",) * len(xyxy), scores=np.array(scores), difficult=np.array(difficult, bool))


def per_image(detections, truths):
    found = []
    for image in range(len(truths)):
        mine = [(score, box) for at, score, box in detections if at == image]
        found.append(half_open([box for _, box in mine], [score for score, _ in mine]))
    return found, [half_open([b for b, _ in image], difficult=[d for _, d in image]) for image in truths]


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 10**6))
def test_ap_is_that_of_the_voc_devkit(devkit, method, seed):
    detections, truths = scene(seed)
    expected = devkit.detection(detections, truths, method)
    assert voc_detection_ap(*per_image(detections, truths), method=method) == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_the_order_of_images_and_boxes_has_no_say_not_even_among_ties(seed):
    detections, truths = scene(seed, distinct=False)
    found, there = per_image(detections, truths)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(truths))
    shuffled = [found[i].select(rng.permutation(len(found[i]))) for i in order]
    ap = voc_detection_ap(found, there)
    assert 0 <= ap <= 1
    assert voc_detection_ap(shuffled, [there[i] for i in order]) == pytest.approx(ap)


def test_a_rising_function_of_the_scores_changes_nothing():
    detections, truths = scene(3)
    stretched = [(image, score**3 + 2, box) for image, score, box in detections]
    assert voc_detection_ap(*per_image(detections, truths)) == voc_detection_ap(*per_image(stretched, truths))


def test_duplicates_are_wrong_and_difficult_neither_right_nor_wrong(boxes):
    there = boxes(("dog", [0, 0, 10, 10]), ("dog", [50, 50, 60, 60], 1, "difficult"))
    found = boxes(
        ("dog", [0, 0, 10, 10], 0.5),
        ("dog", [0, 0, 10, 9], 0.9),
        ("dog", [50, 50, 60, 60], 0.8),
        ("dog", [50, 50, 60, 59], 0.7),
        ("dog", [80, 80, 90, 90], 0.6),
    )
    assert match_boxes(found, there).tolist() == [0, 1, -1, -1, 0]
    assert voc_detection_ap([found], [there]) == 1


def test_a_detection_looks_at_its_best_instance_only(boxes):
    # The second-best instance is free and overlaps enough, but in VOC it is not asked.
    there = boxes(("dog", [0, 0, 10, 10]), ("dog", [0, 0, 10, 7]))
    found = boxes(("dog", [0, 0, 10, 10], 0.9), ("dog", [0, 0, 10, 9], 0.8))
    assert match_boxes(found, there).tolist() == [1, 0]


def test_images_without_instances_or_detections_count(boxes):
    dog = boxes(("dog", [0, 0, 10, 10], 0.5))
    surer = boxes(("dog", [0, 0, 10, 10], 0.9))
    assert voc_detection_ap([dog, surer], [dog, Boxes.empty()]) == 0.5  # wrong first, then right
    assert voc_detection_ap([dog, Boxes.empty()], [dog, dog]) == 0.5  # one of two never found
    assert voc_detection_ap([Boxes.empty()], [dog]) == 0
    with pytest.raises(UserError, match="undefined"):
        voc_detection_ap([dog], [Boxes.empty()])


@pytest.mark.parametrize("iou_threshold", [0, -1, 1.5])
def test_settings_out_of_range_are_refused(boxes, iou_threshold):
    dog = boxes(("dog", [0, 0, 10, 10]))
    with pytest.raises(UserError, match="IoU threshold"):
        voc_detection_ap([dog], [dog], iou_threshold)
    with pytest.raises(UserError, match="IoU threshold"):
        VOCDetectionAP(["dog"], iou_threshold)
    with pytest.raises(UserError, match="AP method"):
        VOCDetectionAP(["dog"], method="all")
    with pytest.raises(UserError, match="as many"):
        voc_detection_ap([dog], [])


@pytest.mark.parametrize("method", METHODS)
def test_streaming_is_the_pure_function(finding, annotated, method):
    detections, truths = scene(11)
    found, there = per_image(detections, truths)
    metric = VOCDetectionAP(["cat", "dog"], method=method)
    for mine, target in zip(found, there, strict=True):
        metric.update(finding(boxes=mine), annotated(target))
    result = metric.compute()
    assert result.per_class == {"dog": voc_detection_ap(found, there, method=method)}
    assert result.counts == {"dog": sum(not hard for image in truths for _, hard in image)}
    other = VOCDetectionAP(["cat", "dog"], method=method)
    other.merge(metric)
    assert other.compute() == result
    with pytest.raises(UserError, match="AP method"):
        VOCDetectionAP(["cat", "dog"], method="all")


def test_the_baseline_is_the_centre_box_of_each_class_found(finding, annotated, boxes):
    metric = VOCDetectionAP(["cat", "dog"])
    middle, corner = boxes(("dog", centre_box((100, 100)))), boxes(("dog", [0, 0, 20, 20]))
    metric.update(finding(scores={"dog": 0.3}, boxes=corner), annotated(middle))
    metric.update(finding(scores={"dog": 0.9}, boxes=corner), annotated(corner))
    result = metric.compute()
    # Centre boxes: wrong at 0.9, right at 0.3. Method: wrong and right at the same box score.
    assert (result.value, result.baseline) == (pytest.approx(0.25), pytest.approx(0.25))
    metric.update(finding(), annotated(middle))  # nothing found: no centre box either
    assert metric.compute().baseline == pytest.approx(0.5 / 3)


def test_foreign_classes_are_left_out_and_foreign_annotations_refused(finding, annotated, boxes):
    metric = VOCDetectionAP(["dog"])
    dog = boxes(("dog", [0, 0, 10, 10]))
    metric.update(finding(boxes=boxes(("emu", [0, 0, 10, 10]))), annotated(dog))
    assert metric.compute().value is None
    with pytest.raises(UserError, match="unknown class 'emu'"):
        metric.update(finding(), annotated(boxes(("emu", [0, 0, 10, 10]))))
    with pytest.raises(UserError, match="no boxes are annotated"):
        metric.update(finding(), Sample(path="a.jpg", labels=["dog"]))


def test_the_whole_image_is_found_instead_where_a_class_is(finding, annotated, boxes):
    metric = VOCDetectionAP(["dog"])
    all_of_it, corner = boxes(("dog", [0, 0, 100, 100])), boxes(("dog", [0, 0, 20, 20]))
    metric.update(finding(scores={"dog": 0.9}, boxes=corner), annotated(all_of_it, "a.jpg"))
    metric.update(finding(scores={"dog": 0.3}, boxes=corner), annotated(corner, "b.jpg"))
    assert metric.compute().whole_image == pytest.approx(0.5)


def test_the_interval_is_of_images_as_often_as_they_were_drawn():
    detections, truths = scene(21, images=12)
    found, there = per_image(detections, truths)
    metric = VOCDetectionAP(["dog"], replicates=40)
    names = [f"{i}.jpg" for i in range(len(truths))]
    for name, mine, target in zip(names, found, there, strict=True):
        finds = Localization(path=name, size=(40, 40), scores={}, boxes=mine)
        metric.update(finds, Sample(path=name, labels=["dog"], boxes=target))
    weights = poisson_weights([image_key(Path(name)) for name in names], 40)
    drawn = []
    for times in weights.T:
        again = np.repeat(np.arange(len(names)), times)
        drawn.append(voc_detection_ap([found[i] for i in again], [there[i] for i in again]))
    assert metric.compute().interval == pytest.approx(percentile_interval(drawn, metric.compute().value))


def test_precision_and_recall_over_the_score(finding, annotated, boxes):
    metric = VOCDetectionAP(["cat", "dog"], report_classes=["dog"])
    assert [len(part) for part in metric.over_scores()] == [0, 0, 0]
    there = boxes(("dog", [0, 0, 10, 10]), ("dog", [50, 50, 60, 60]), ("dog", [80, 80, 90, 90], 1, "difficult"))
    found = boxes(
        ("dog", [0, 0, 10, 10], 0.75),
        ("dog", [20, 20, 30, 30], 0.5),
        ("dog", [50, 50, 60, 60], 0.5),
        ("dog", [80, 80, 90, 90], 0.9),  # at a difficult one: neither right nor wrong
        ("cat", [0, 0, 10, 10], 0.8),
    )
    metric.update(finding(boxes=found), annotated(there))
    scores, precision, recall = metric.over_scores()
    assert scores.tolist() == [0.75, 0.5]
    assert precision.tolist() == [1, pytest.approx(2 / 3)]
    assert recall.tolist() == [0.5, 1]


@pytest.mark.parametrize("kind", [VOCDetectionAP, CocoAP])
def test_boxes_of_classes_that_nobody_looked_for_count_neither_way(kind, finding, annotated, boxes):
    truth = boxes(("cat", [0, 0, 50, 50]))
    second = boxes(("cat", [0, 0, 9, 9], 0.9), ("dog", [0, 0, 50, 50], 0.7))
    values = {}
    for negatives in (None, ("cow",), ("cat",)):
        metric = kind(["cat", "cow", "dog"])
        metric.update(finding(boxes=boxes(("cat", [0, 0, 50, 50], 0.5))), annotated(truth))
        sample = replace(annotated(boxes(("dog", [0, 0, 50, 50])), "b.jpg"), negatives=negatives)
        metric.update(finding("b.jpg", boxes=second), sample)
        computed = metric.compute()
        values[negatives] = (computed[0] if isinstance(computed, tuple) else computed).per_class["cat"]
    # The box in the second image is wrong where the cat is known to be absent, and the first in the ranking.
    assert values[None] == values["cat",] == pytest.approx(0.5, abs=0.01)
    assert values["cow",] == pytest.approx(1)


@pytest.mark.parametrize("kind", [VOCDetectionAP, CocoAP])
def test_more_boxes_of_a_class_that_is_not_annotated_exhaustively_count_neither_way(kind, finding, annotated, boxes):
    """By hand, as LVISEval ignores unmatched detections of such classes."""
    near, far = [0, 0, 50, 50], [60, 60, 90, 90]
    metric = {}
    for classes in ((), ("cat",)):
        metric[classes] = kind(["cat", "dog"])
        first = replace(annotated(boxes(("cat", near), ("dog", near))), not_exhaustive=classes)
        found = boxes(("cat", far, 0.9), ("cat", near, 0.8), ("cat", near, 0.7), ("dog", far, 0.9), ("dog", near, 0.8))
        metric[classes].update(finding(boxes=found), first)
        found = boxes(("cat", far, 0.95), ("cat", near, 0.6))
        metric[classes].update(finding("b.jpg", boxes=found), annotated(boxes(("cat", near)), "b.jpg"))
    per_class = {
        classes: (one[0] if isinstance(one, tuple) else one).per_class
        for classes, one in ((classes, one.compute()) for classes, one in metric.items())
    }
    # Falling scores of the cats: wrong, (wrong,) right, (wrong,) right. Of two cats both are found.
    assert per_class[()]["cat"] == pytest.approx(2 / 5)
    assert per_class["cat",]["cat"] == pytest.approx(2 / 3)
    assert per_class["cat",]["dog"] == per_class[()]["dog"] == pytest.approx(1 / 2)
