import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchmetrics.classification import MulticlassJaccardIndex

from wsl import run_lengths
from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics import MeanIoU, class_iou
from wsl.metrics.annotated_masks import class_pixels, pixel_classes
from wsl.samples import Outline, Sample

CLASSES = ("cat", "dog", "emu")


def save(folder, numbers, labels, name, ignored=()):
    Image.fromarray(np.uint8(numbers)).save(folder / f"{name}.png")
    return Sample(path=f"{name}.jpg", labels=labels, ignored=ignored, mask=folder / f"{name}.png")


@pytest.fixture
def scenes(finding, tmp_path):
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(8):
        labels = [label for label in CLASSES[:2] if rng.random() < 0.7]
        numbers = rng.choice([0, *(CLASSES.index(label) + 1 for label in labels), 255], (5, 6))
        maps = {label: rng.random((2, 3)).astype(np.float32) for label in labels}
        pairs.append((finding(f"{i}.jpg", (6, 5), maps=maps), save(tmp_path, numbers, labels, i)))
    return pairs


def test_iou_is_that_of_torchmetrics_over_the_data_set():
    rng = np.random.default_rng(1)
    found, there = rng.integers(0, 4, (6, 9, 9)), rng.choice([0, 1, 2, 3, 255], (6, 9, 9))
    jaccard = MulticlassJaccardIndex(4, average="none", ignore_index=255)
    for prediction, mask in zip(found, there, strict=True):
        jaccard.update(torch.tensor(prediction)[None], torch.tensor(mask)[None])
    np.testing.assert_allclose(class_iou(found, there, 4), jaccard.compute().numpy(), atol=1e-6)


def test_it_is_no_mean_over_images():
    found, there = [[[1, 1, 1, 1]], [[1, 0, 0, 0]]], [[[1, 1, 1, 1]], [[0, 1, 1, 1]]]
    assert class_iou(found, there, 2)[1] == pytest.approx(4 / 8)  # per image: (1 + 0) / 2, but by luck of sizes only
    assert class_iou(found, there, 2)[0] == 0


def test_a_class_without_a_true_pixel_has_none():
    assert np.isnan(class_iou([[[1, 2]]], [[[1, 1]]], 3)[[0, 2]]).all()


@pytest.mark.parametrize(
    "arguments", [([], [[[1]]]), ([[[1]]], [[[1, 1]]]), ([[[3]]], [[[1]]]), ([[[1]]], [[[3]]]), ([[[-1]]], [[[1]]])]
)
def test_nonsense_is_refused(arguments):
    with pytest.raises(UserError, match="expected"):
        class_iou(*arguments, 3)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_every_threshold_at_once_is_each_by_itself(reference, finding, tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("masks")
    metric = MeanIoU(CLASSES, num_thresholds=5, replicates=0)
    surfaces, masks = [], []
    for i in range(4):
        labels = [label for label in CLASSES if rng.random() < 0.6]
        numbers = rng.choice([0, 1, 2, 3, 255], (4, 5))
        maps = {label: rng.integers(0, 4, (2, 2)).astype(np.float32) for label in labels}
        metric.update(finding(f"{i}.jpg", (5, 4), maps=maps), save(folder, numbers, labels, i))
        surfaces.append({CLASSES.index(label) + 1: heatmap(maps[label], (5, 4)) for label in labels})
        masks.append(np.where(numbers == 255, -1, numbers))
    found = metric.compute()
    if not any(surfaces):
        assert found.value is None
        return
    each = [reference.metrics.mean_iou(surfaces, masks, i / 5, 3) for i in range(5)]
    assert found.value == pytest.approx(max(each))
    assert f"best threshold {each.index(max(each)) / 5:g}" in found.note


def test_perfect_maps_are_perfect_and_their_table_has_the_background(finding, tmp_path):
    metric = MeanIoU(["cat", "dog"])
    maps = {"cat": np.float32([[1, 0, 0, 0]]), "dog": np.float32([[0, 0, 0.5, 1]])}
    sample = save(tmp_path, [[1, 0, 2, 2]], ["cat", "dog"], "a")
    metric.update(finding(size=(4, 1), maps=maps), sample)
    found = metric.compute()
    assert found.per_class == {"background": 1, "cat": 1, "dog": 1}
    assert found.counts == {"background": 1, "cat": 1, "dog": 1}
    assert found.value == 1
    # One class for the whole image: right on one pixel of four.
    assert found.whole_image == pytest.approx((0 + 1 / 4 + 0) / 3)


def test_the_baselines_take_the_class_of_highest_score(finding, tmp_path):
    metric = MeanIoU(["cat", "dog"])
    numbers = np.zeros((9, 9), int)
    numbers[2:7, 2:7] = 2
    numbers[0, 0] = 1
    sample = save(tmp_path, numbers, ["cat", "dog"], "a")
    metric.update(finding(size=(9, 9), scores={"dog": 0.9}, maps={"dog": np.eye(3, dtype=np.float32)}), sample)
    found = metric.compute()
    assert found.whole_image == pytest.approx((0 + 0 + 25 / 81) / 3)
    assert found.baseline > 0.55  # the bump is where the dog is, cat is never found
    assert "1 pairs without a map" in found.note


def test_report_classes_narrow_the_mean_but_keep_the_background(finding, tmp_path):
    metric = MeanIoU(CLASSES, report_classes=["dog"])
    maps = {"cat": np.float32([[0, 1, 0, 0]]), "dog": np.float32([[0, 0, 1, 1]])}
    metric.update(finding(size=(4, 1), maps=maps), save(tmp_path, [[1, 0, 2, 2]], ["cat", "dog"], "a"))
    found = metric.compute()
    assert found.per_class == {"background": 0, "cat": 0, "dog": 1}
    assert found.value == 0.5


def test_images_of_no_class_are_background_and_difficult_classes_are_known(finding, tmp_path):
    metric = MeanIoU(["dog"])
    metric.update(finding(size=(2, 1)), save(tmp_path, [[0, 0]], [], "a"))
    assert metric.compute().value is None
    maps = {"dog": np.float32([[0, 1]])}
    metric.update(finding(size=(2, 1), maps=maps), save(tmp_path, [[0, 1]], [], "b", ignored=["dog"]))
    found = metric.compute()
    assert (found.value, found.counts) == (1, {"background": 2, "dog": 1})


def test_the_interval_holds_the_value(scenes):
    metric = MeanIoU(CLASSES)
    for pair in scenes:
        metric.update(*pair)
    found = metric.compute()
    low, high = found.interval
    assert 0 <= low <= found.value <= high <= 1


def test_bad_input_is_refused(finding, tmp_path):
    with pytest.raises(UserError, match="thresholds"):
        MeanIoU(["dog"], num_thresholds=0)
    with pytest.raises(UserError, match="no mask is annotated"):
        MeanIoU(["dog"]).update(finding(), Sample(path="a.jpg", labels=["dog"]))
    with pytest.raises(UserError, match=r"2x1.*3x1"):
        MeanIoU(["dog"]).update(finding(size=(3, 1)), save(tmp_path, [[0, 0]], ["dog"], "a"))


def test_of_objects_one_by_one_nobody_is_sure_where_classes_overlap_or_a_crowd_is_alone():
    def outline(label, columns, ignored=False):
        mask = np.zeros((1, 8), bool)
        mask[:, columns] = True
        return Outline(label=label, runs=run_lengths.encode(mask), ignored=ignored)

    outlines = (
        outline("dog", [0, 1, 2]),
        outline("dog", [2, 3]),
        outline("cat", [3, 4, 5]),
        outline("cat", [0, 5, 6], ignored=True),
    )
    sample = Sample(path="a.jpg", labels=CLASSES, size=(8, 1), outlines=outlines)
    cat, dog = CLASSES.index("cat") + 1, CLASSES.index("dog") + 1
    assert pixel_classes(sample, CLASSES, (8, 1)).tolist() == [[dog, dog, dog, -1, cat, cat, -1, 0]]
    assert pixel_classes(sample, CLASSES, (8, 1), (4, 2)).tolist() == [[dog, dog, cat, -1]] * 2
    assert class_pixels(sample, "cat", (8, 1)).tolist() == [[True, False, False, True, True, True, True, False]]
    assert not pixel_classes(Sample(path="a.jpg", size=(8, 1), outlines=()), CLASSES, (8, 1)).any()
    with pytest.raises(UserError, match=r"outlines for \(8, 1\) pixels, expected those of the image, \(4, 1\)"):
        pixel_classes(sample, CLASSES, (4, 1))


@pytest.mark.realdata
def test_vocs_own_masks_fit_their_images_and_hold_the_labels_that_their_boxes_do(realdata):
    from wsl.data import read_voc

    samples = read_voc(realdata / "VOCdevkit", "val")
    for sample in samples.samples[:60]:
        present = np.unique(pixel_classes(sample, samples.classes, sample.size))
        named = {samples.classes[number - 1] for number in present[present > 0]}
        assert named <= {*sample.labels, *sample.ignored}
