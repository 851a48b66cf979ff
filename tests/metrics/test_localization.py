import pytest

from wsl.errors import UserError
from wsl.metrics import CorLoc, centre_box, corloc
from wsl.samples import Sample


def test_the_iou_threshold_itself_is_enough():
    # 10x5 in 10x10: IoU 0.5 exactly.
    assert corloc([[0, 0, 10, 5]], [[0, 0, 10, 10]]) == 1
    assert corloc([[0, 0, 10, 4.9]], [[0, 0, 10, 10]]) == 0


def test_any_instance_will_do():
    assert corloc([[50, 50, 60, 60]], [[[0, 0, 10, 10], [50, 50, 60, 60]]]) == 1


@pytest.mark.parametrize(
    ("found", "truths", "threshold"), [([], [], 0.5), ([None], [], 0.5), ([None], [[0, 0, 1, 1]], 0)]
)
def test_nonsense_is_refused(found, truths, threshold):
    with pytest.raises(UserError, match="expected"):
        corloc(found, truths, threshold)


def test_only_the_best_box_of_the_class_counts(finding, annotated, boxes):
    sample = annotated(boxes(("dog", [0, 0, 10, 10])))
    metric = CorLoc(["cat", "dog"])
    metric.update(
        finding(boxes=boxes(("dog", [60, 60, 90, 90], 0.9), ("dog", [0, 0, 10, 10], 0.8), ("cat", [0, 0, 10, 10], 1))),
        sample,
    )
    assert metric.compute().value == 0
    metric.update(finding(boxes=boxes(("dog", [60, 60, 90, 90], 0.7), ("dog", [0, 0, 10, 10], 0.8))), sample)
    assert metric.compute().per_class == {"dog": 0.5}


def test_mean_over_classes_and_images_without_a_box_as_misses(finding, annotated, boxes):
    metric = CorLoc(["cat", "dog"])
    dog, cat = boxes(("dog", [0, 0, 10, 10])), boxes(("cat", [15, 15, 85, 85]))
    metric.update(finding(boxes=dog), annotated(dog))
    metric.update(finding(), annotated(dog))
    metric.update(finding(), annotated(dog))
    metric.update(finding(boxes=cat), annotated(cat))
    result = metric.compute()
    assert result.per_class == {"dog": 1 / 3, "cat": 1.0}
    assert result.value == pytest.approx(2 / 3)
    assert result.baseline == pytest.approx((0 + 1) / 2)  # the cat's box is the centre box
    assert "2 missing" in result.note


def test_the_centre_box_scores_what_its_baseline_says(finding, annotated, boxes):
    metric = CorLoc(["dog"])
    for far in (40, 60, 80, 100):
        metric.update(
            finding(boxes=boxes(("dog", centre_box((100, 100))))), annotated(boxes(("dog", [0, 0, far, far])))
        )
    assert metric.compute().value == metric.compute().baseline


def test_difficult_boxes_are_instances_but_no_trial(finding, annotated, boxes):
    metric = CorLoc(["dog"])
    found = finding(boxes=boxes(("dog", [0, 0, 10, 10])))
    metric.update(found, annotated(boxes(("dog", [0, 0, 10, 10], 1, "difficult"))))
    assert metric.compute().value is None
    metric.update(found, annotated(boxes(("dog", [0, 0, 10, 10], 1, "difficult"), ("dog", [50, 50, 60, 60]))))
    assert metric.compute().value == 1


def test_no_box_at_all_is_no_value_and_no_annotation_an_error(finding, annotated, boxes):
    metric = CorLoc(["dog"])
    metric.update(finding(), annotated(boxes(("dog", [0, 0, 10, 10]))))
    assert metric.compute().value is None
    with pytest.raises(UserError, match="no boxes are annotated"):
        metric.update(finding(), Sample(path="a.jpg", labels=["dog"]))


@pytest.mark.realdata
def test_pairs_and_single_objects_of_the_voc_subset(realdata):
    from wsl.data import read_voc

    samples = read_voc(realdata / "VOCdevkit", "val").samples
    assert sum(len(sample.labels) for sample in samples) == 646
    assert sum(len(sample.boxes) == 1 and not sample.boxes.difficult[0] for sample in samples) == 242


def test_the_whole_image_is_a_box_too(finding, annotated, boxes):
    metric = CorLoc(["dog"])
    for i, width in enumerate((100, 50, 49)):
        there = boxes(("dog", [0, 0, width, 100]))
        metric.update(finding(boxes=there), annotated(there, f"{i}.jpg"))
    assert metric.compute().whole_image == pytest.approx(2 / 3)
