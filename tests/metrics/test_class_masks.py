import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wsl.errors import UserError
from wsl.maps import heatmap
from wsl.metrics import ClassMaskAP
from wsl.metrics.kernels import surely_exceeds
from wsl.samples import Sample

CLASSES = ("cat", "dog", "emu")


def official(detections, truths):
    """COCOeval's AP, AP50 and AP75 of masks, by the way its documentation takes: loadRes, summarize."""
    rows = {"true": [], "found": []}
    for name, images in (("true", truths), ("found", detections)):
        for image, objects in enumerate(images):
            for label, mask, score in objects:
                runs = run_lengths.encode(np.asfortranarray(np.uint8(mask)))
                runs["counts"] = runs["counts"].decode()
                row = {"image_id": image, "category_id": CLASSES.index(label), "segmentation": runs, "score": score}
                area = {"area": float(np.sum(mask)), "iscrowd": 0, "id": len(rows[name]) + 1, "bbox": [0, 0, 1, 1]}
                rows[name].append(row if name == "found" else {**row, **area})
    with contextlib.redirect_stdout(io.StringIO()):
        store = COCO()
        store.dataset = {
            "info": {},
            "images": [{"id": i, "width": 12, "height": 9} for i in range(len(truths))],
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
            "annotations": rows["true"],
        }
        store.createIndex()
        evaluator = COCOeval(store, store.loadRes(rows["found"]), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats[:3]


def scene(seed, images=12):
    """Rectangles of the two first classes, and predictions that shift them."""
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        there, found = [], []
        for label in CLASSES[:2]:
            y, x = rng.integers(0, 5, 2)
            mask = np.zeros((9, 12), bool)
            mask[y : y + 4, x : x + 6] = True
            if rng.random() < 0.7:
                there.append((label, mask, 1.0))
            found.append((label, np.roll(mask, rng.integers(0, 2, 2), (0, 1)), float(rng.random())))
        truths.append(there)
        detections.append(found)
    return detections, truths


@pytest.mark.parametrize("seed", range(3))
def test_it_is_cocoevals_of_one_mask_a_class_and_image(finding, tmp_path, seed):
    detections, truths = scene(seed)
    metric = ClassMaskAP(CLASSES)
    for i, (found, there) in enumerate(zip(detections, truths, strict=True)):
        numbers = np.zeros((9, 12), np.uint8)
        for label, mask, _ in there[:1]:  # a mask of numbers has one class a pixel
            numbers[mask] = CLASSES.index(label) + 1
        Image.fromarray(numbers).save(tmp_path / f"{i}.png")
        maps = {label: mask.astype(np.float32) for label, mask, _ in found}
        scores = {label: score for label, _, score in found}
        labels = [label for label, *_ in there[:1]]
        sample = Sample(path=f"{i}.jpg", labels=labels, mask=tmp_path / f"{i}.png")
        metric.update(finding(f"{i}.jpg", (12, 9), scores=scores, maps=maps), sample)
    found = metric.compute()
    assert [metric.name for metric in found[:3]] == ["class mask AP", "class mask AP50", "class mask AP75"]
    assert [metric.value for metric in found[:3]] == pytest.approx(official(detections, [t[:1] for t in truths]))


def test_pixels_nobody_is_sure_of_belong_to_neither(finding, tmp_path):
    Image.fromarray(np.uint8([[1, 255, 255, 0]])).save(tmp_path / "a.png")
    metric = ClassMaskAP(["dog"])
    maps = {"dog": np.float32([[1, 1, 1, 0]])}
    metric.update(
        finding(size=(4, 1), scores={"dog": 1}, maps=maps),
        Sample(path="a.jpg", labels=["dog"], mask=tmp_path / "a.png"),
    )
    assert metric.compute()[0].value == pytest.approx(1)


def test_nothing_found_is_no_value(finding, tmp_path):
    Image.fromarray(np.uint8([[1, 0]])).save(tmp_path / "a.png")
    metric = ClassMaskAP(["dog"])
    sample = Sample(path="a.jpg", labels=["dog"], mask=tmp_path / "a.png")
    constant = {"dog": np.ones((1, 2), np.float32)}
    broken = {"dog": np.full((1, 2), np.nan, np.float32)}
    for maps in ({}, constant, broken):
        metric.update(finding(size=(2, 1), scores={"dog": 1}, maps=maps), sample)
    assert [found.value for found in metric.compute()] == [None] * 6


def test_nonsense_is_refused(finding):
    with pytest.raises(UserError, match="threshold"):
        ClassMaskAP(["dog"], threshold=1)
    with pytest.raises(UserError, match="no mask"):
        ClassMaskAP(["dog"]).update(finding(), Sample(path="a.jpg", labels=["dog"]))


@given(seed=st.integers(0, 10**6), threshold=st.floats(0, 0.99))
def test_what_two_pixels_tell_is_true(seed, threshold):
    rng = np.random.default_rng(seed)
    cells = rng.random(rng.integers(1, 8, 2)).astype(np.float32) ** rng.integers(1, 6)
    truth = np.where(rng.random(rng.integers(1, 40, 2)) < rng.random(), -1, 0).astype(np.int32)
    above = (heatmap(cells, truth.shape[::-1]) > np.float32(threshold)) & (truth >= 0)
    assert above.any() or not surely_exceeds(cells.astype(np.float64), threshold, truth)


def test_two_pixels_decide_most_maps():
    rng, truth = np.random.default_rng(0), np.zeros((60, 80), np.int32)
    decided = [surely_exceeds(rng.random((9, 12)), 0.2, truth) for _ in range(100)]
    assert np.mean(decided) > 0.95
