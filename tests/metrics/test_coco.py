import contextlib
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics import CocoAP, coco_ap, coco_ar, voc_detection_ap
from wsl.metrics.bootstrap import image_key, poisson_weights
from wsl.metrics.coco import NAMES, box_evaluation

CLASSES = ("cat", "dog", "emu")


def scene(seed, images=15):
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        n = int(rng.integers(0, 4))
        corners = rng.integers(0, 60, (n, 2))
        xyxy = np.concatenate([corners, corners + rng.integers(5, 40, (n, 2))], axis=1)
        labels = tuple(rng.choice(CLASSES[:2], n))
        truths.append(Boxes(xyxy=xyxy, labels=labels, difficult=rng.random(n) < 0.2))
        near = np.concatenate([xyxy, xyxy]) + rng.integers(-3, 3, (2 * n, 4))
        near[:, 2:] = np.maximum(near[:, :2] + 1, near[:, 2:])
        detections.append(Boxes(xyxy=near, labels=labels * 2, scores=rng.permutation(2 * n) / 10 + rng.random()))
    return detections, truths


def official(detections, truths):
    """The six numbers that COCOeval prints for all areas, by the way its documentation takes: loadRes, summarize."""
    annotations, results = [], []
    for image, (found, there) in enumerate(zip(detections, truths, strict=True)):
        for i, (x0, y0, x1, y1) in enumerate(there.xyxy.tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": CLASSES.index(there.labels[i]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": int(there.difficult[i]),
                }
            )
        results += [
            {
                "image_id": image,
                "category_id": CLASSES.index(found.labels[i]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "score": float(found.scores[i]),
            }
            for i, (x0, y0, x1, y1) in enumerate(found.xyxy.tolist())
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        store = COCO()
        store.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
            "annotations": annotations,
        }
        store.createIndex()
        evaluator = COCOeval(store, store.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats[[0, 1, 2, 6, 7, 8]]


@pytest.mark.parametrize("seed", range(4))
def test_the_six_numbers_are_those_that_cocoeval_prints(finding, annotated, seed, capsys):
    detections, truths = scene(seed)
    metric = CocoAP(CLASSES)
    for found, there in zip(detections, truths, strict=True):
        metric.update(finding(boxes=found), annotated(there))
    result = metric.compute()
    assert [found.name for found in result] == [f"COCO {name}" for name in NAMES]
    assert [found.value for found in result] == pytest.approx(official(detections, truths))
    assert result[0].counts.keys() == {"cat", "dog"}  # no emu is annotated
    assert capsys.readouterr().out == ""


def test_ties_rank_in_the_order_of_the_images_in_cocos_file(finding, annotated):
    detections, truths = scene(9, images=40)
    rounded = [
        Boxes(xyxy=found.xyxy, labels=found.labels, scores=np.round(found.scores, 1) + 0.0) for found in detections
    ]
    metric = CocoAP(CLASSES)
    pairs = [(finding(f"{i}.jpg", boxes=rounded[i]), annotated(truths[i], f"{i}.jpg"), i) for i in range(len(truths))]
    for found, sample, number in pairs[::-1]:
        metric.update(found, dataclasses.replace(sample, number=number))
    assert [found.value for found in metric.compute()] == pytest.approx(official(rounded, truths), abs=1e-12)


def test_a_class_that_is_nowhere_has_no_ap(boxes):
    dog = boxes(("dog", [0, 0, 10, 10]))
    ap = coco_ap([dog], [dog], CLASSES)
    assert np.isnan(ap[[0, 2]]).all()
    assert ap[1] == pytest.approx(1)
    assert np.isnan(coco_ap([dog], [boxes(("dog", [0, 0, 10, 10], 1, "difficult"))], CLASSES)).all()


def test_difficult_boxes_are_crowds(boxes):
    there = boxes(("dog", [0, 0, 10, 10]), ("dog", [50, 50, 70, 70], 1, "difficult"))
    found = boxes(("dog", [50, 50, 60, 70], 0.9), ("dog", [60, 50, 70, 70], 0.8), ("dog", [0, 0, 10, 10], 0.1))
    assert coco_ap([found], [there], ["dog"])[0] == pytest.approx(1)


def test_a_clean_scene_has_the_ap_of_voc(boxes):
    # One box an image, no duplicates: the two systems differ in the recall points they sample only.
    there = [boxes(("dog", [0, 0, 10, 10])) for _ in range(50)]
    found = [boxes(("dog", [0, 0, 10, 10] if i % 3 else [50, 50, 60, 60], 1 - i / 100)) for i in range(50)]
    assert coco_ap(found, there, ["dog"])[0, 0] == pytest.approx(voc_detection_ap(found, there), abs=0.02)


def test_nothing_found_is_no_value_and_nothing_given_no_crash(finding, annotated, boxes):
    metric = CocoAP(["dog"])
    assert [found.value for found in metric.compute()] == [None] * 6
    metric.update(finding(), annotated(boxes(("dog", [0, 0, 10, 10]))))
    assert [found.value for found in metric.compute()] == [None] * 6
    metric.update(finding(boxes=boxes(("dog", [50, 50, 60, 60]))), annotated(boxes(("dog", [0, 0, 10, 10]))))
    assert [found.value for found in metric.compute()] == [0] * 6


def test_report_classes_narrow_the_mean(finding, annotated, boxes):
    metric = CocoAP(["cat", "dog"], report_classes=["dog"])
    dog, cat = boxes(("dog", [0, 0, 10, 10])), boxes(("cat", [0, 0, 10, 10]))
    metric.update(finding(boxes=dog), annotated(dog))
    metric.update(finding(), annotated(cat))
    assert metric.compute()[0].value == pytest.approx(1)
    assert metric.compute()[0].per_class == pytest.approx({"cat": 0, "dog": 1})


def test_lists_of_different_length_are_refused(boxes):
    with pytest.raises(UserError, match="as many"):
        coco_ap([], [boxes(("dog", [0, 0, 1, 1]))], ["dog"])


def test_resampling_is_cocoeval_on_images_as_often_as_they_were_drawn():
    detections, truths = scene(5)
    weights = poisson_weights(range(len(truths)), 40)
    metric = box_evaluation(detections, truths, CLASSES)
    keys = [image_key(Path(str(number))) for number in range(len(truths))]
    # Weights go with the images' keys, in ascending order; an image without any object has none.
    kept = {key: i for i, key in enumerate(keys) if len(detections[i]) or (~truths[i].difficult).any()}
    drawn = metric.resampled(metric.totals, weights[[kept[key] for key in sorted(kept)]])
    for replicate in range(3):
        again = np.repeat(np.arange(len(truths)), weights[:, replicate])
        repeated = [detections[i] for i in again], [truths[i] for i in again]
        np.testing.assert_allclose(drawn.ap[..., replicate], coco_ap(*repeated, CLASSES), atol=1e-12)
        np.testing.assert_allclose(drawn.recall[..., replicate], coco_ar(*repeated, CLASSES), atol=1e-12)
