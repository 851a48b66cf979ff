"""`wsl-evaluate` gives the same figures for the same boxes and maps, whatever system's files they come in."""

import json
from collections import defaultdict
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.config import DataConfig, EvaluateConfig
from wsl.data import read_voc
from wsl.errors import UserError
from wsl.formats import LocalizationWriter
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.results import Localization
from wsl.verbs.evaluate import evaluate

CLASSES = ["blue", "red"]
DETECTION = ("CorLoc", "AP50", "AP50 (11-point)", "COCO AP", "COCO AP50")


@pytest.fixture(scope="module")
def predicted(world):
    """What a detector found: the boxes of the ground truth, shaken, with scores, and some false ones."""
    rng = np.random.default_rng(3)
    images = []
    for sample in read_voc(world, "val").samples:
        width, height = sample.size
        count = len(sample.boxes)
        false = np.array([[0, 0, width / 2, height / 2]])
        xyxy = np.concatenate([sample.boxes.xyxy + rng.normal(0, 1.5, (count, 4)), false])
        xyxy = np.clip(xyxy, 0, np.tile(sample.size, 2)).astype(np.float32)
        scores = rng.uniform(0.05, 0.95, count + 1).astype(np.float32)
        boxes = Boxes(xyxy=xyxy, labels=(*sample.boxes.labels, CLASSES[len(images) % 2]), scores=scores)
        images.append(Labelled(name=sample.path.name, size=sample.size, boxes=boxes))
    return images


@pytest.fixture(scope="module")
def ours(world, predicted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    with LocalizationWriter(folder) as writer:
        for image in predicted:
            path = world / "JPEGImages" / image.name
            writer.write(Localization(path=path, size=image.size, scores={}, boxes=image.boxes))
    return figures(world, folder, folder / "out")


def figures(world, place, out, **options):
    report = evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=place, out=out, **options))
    assert report.missing == 0
    values = {metric.name: metric.value for metric in report.metrics}
    return SimpleNamespace(report=report, values=values)


def rows(predicted):
    for image in predicted:
        boxes = image.boxes
        for label, score, xyxy in zip(boxes.labels, boxes.scores.tolist(), boxes.xyxy.tolist(), strict=True):
            yield image, label, score, xyxy


def ultralytics(predicted, folder):
    found = [
        {
            "image_id": image.stem,
            "file_name": image.name,
            "category_id": CLASSES.index(label) + 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for image, label, score, (x0, y0, x1, y1) in rows(predicted)
    ]
    (folder / "predictions.json").write_text(json.dumps(found), encoding="utf-8")


def torchvision(predicted, folder):
    found = [
        {
            "file_name": image.name,
            "boxes": image.boxes.xyxy.tolist(),
            "labels": [CLASSES.index(label) + 1 for label in image.boxes.labels],
            "scores": image.boxes.scores.tolist(),
        }
        for image in predicted
    ]
    (folder / "outputs.json").write_text(json.dumps(found), encoding="utf-8")
    return folder / "outputs.json"


def fiftyone(predicted, folder):
    detections = defaultdict(list)
    for image, label, score, (x0, y0, x1, y1) in rows(predicted):
        width, height = image.size
        box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
        detections[image.name].append({"label": label, "bounding_box": box, "confidence": score})
    samples = [{"filepath": f"data/{name}", "predictions": {"detections": boxes}} for name, boxes in detections.items()]
    (folder / "samples.json").write_text(json.dumps({"samples": samples}), encoding="utf-8")


def parquet(predicted, folder):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    records = [
        {
            "path": image.name,
            "width": image.size[0],
            "height": image.size[1],
            "boxes": [
                {"label": label, "score": score, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
                for one, label, score, (x0, y0, x1, y1) in rows(predicted)
                if one is image
            ],
        }
        for image in predicted
    ]
    pq.write_table(pa.Table.from_pylist(records), folder / "part-0.parquet", row_group_size=3)


def export(name):
    return lambda predicted, folder: FORMATS[name].write(iter(predicted), folder, CLASSES, scores=True) and None


EXPORTED = {name: export(name) for name in ("yolo", "labelme", "label-studio", "cvat", "csv")}
OTHERS = {
    "coco-results": lambda predicted, folder: FORMATS["coco-results"].write(iter(predicted), folder, CLASSES) and None,
    **{write.__name__: write for write in (ultralytics, torchvision, fiftyone, parquet)},
}


@pytest.mark.parametrize("name", [*EXPORTED, *OTHERS])
def test_every_format_gives_the_figures_of_our_own_file(name, world, predicted, ours, tmp_path):
    place = {**EXPORTED, **OTHERS}[name](predicted, tmp_path) or tmp_path
    theirs = figures(world, place, tmp_path / "out")
    for metric in DETECTION:
        assert theirs.values[metric] == pytest.approx(ours.values[metric], abs=1e-6), metric
    assert not theirs.report.warnings
    assert str(theirs.report.boxes) == "boxes of another system"


@pytest.fixture(scope="module")
def maps(predicted):
    """A map for each class in an image: 1 in its best box, and a little elsewhere."""
    drawn = {}
    for image in predicted:
        width, height = image.size
        for label in CLASSES:
            values = np.full((height, width), 0.2, np.float32)
            box = image.boxes.best(label)
            if box is not None:
                x0, y0, x1, y1 = np.rint(box).astype(int)
                values[y0:y1, x0:x1] = 1
            drawn[image.stem, label] = values
    return drawn


def stacks(maps, folder):
    (folder / "classes.txt").write_text("red\nblue\n", encoding="utf-8")
    for stem in {stem for stem, _ in maps}:
        np.save(folder / f"{stem}.npy", np.stack([maps[stem, "red"], maps[stem, "blue"]]))


def archives(maps, folder):
    for stem in {stem for stem, _ in maps}:
        np.savez(folder / f"{stem}.npz", **{label: maps[stem, label] for label in CLASSES})


def files(maps, folder):
    for (stem, label), values in maps.items():
        (folder / stem).mkdir(exist_ok=True)
        np.save(folder / stem / f"{label}.npy", (255 * values).astype(np.uint8))


def pictures(maps, folder):
    for (stem, label), values in maps.items():
        (folder / label).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / label / f"{stem}.png"), (255 * values).astype(np.uint8))


def test_maps_of_several_classes_are_measured_in_every_image(world, maps, tmp_path):
    found = {}
    for write in (stacks, archives, files, pictures):
        folder = tmp_path / write.__name__
        folder.mkdir()
        write(maps, folder)
        found[write.__name__] = figures(world, folder, tmp_path / "out")
    assert {one.report.images for one in found.values()} == {16}
    for name in ("pointing", "CorLoc", "MaxBoxAcc@0.5"):
        values = {one.values[name] for one in found.values()}
        assert len(values) == 1, name
    assert found["stacks"].values["pointing"] > 0.7


def test_a_score_map_that_is_missing_is_a_miss(world, maps, tmp_path):
    """Four of sixteen images without their maps leave the denominators as they were."""
    archives(maps, tmp_path)
    whole = figures(world, tmp_path, tmp_path / "out")
    gone = sorted(tmp_path.glob("*.npz"))[:4]
    for path in gone:
        path.unlink()
    partial = figures(world, tmp_path, tmp_path / "out")
    assert partial.report.images == 16
    assert partial.report.warnings == {"images without a score map: misses": 4}
    count = {metric.name: metric.count for metric in whole.report.metrics}
    count.pop("box calibration error")  # of boxes that are found, and no box is
    for metric in partial.report.metrics:
        assert metric.count == count.get(metric.name, metric.count), metric.name
    for name in ("pointing", "CorLoc", "MaxBoxAcc@0.5"):
        assert partial.values[name] < whole.values[name]


@pytest.mark.parametrize("name", ["csv", "coco-results"])
def test_an_image_without_a_detection_is_one_where_nothing_was_found(name, world, predicted, ours, tmp_path):
    half = predicted[: len(predicted) // 2]
    place = {**EXPORTED, **OTHERS}[name](half, tmp_path) or tmp_path
    theirs = figures(world, place, tmp_path / "out")
    assert theirs.report.images == 16
    assert theirs.values["CorLoc"] < ours.values["CorLoc"]
    with LocalizationWriter(tmp_path / "half") as writer:
        for image in half:
            writer.write(Localization(path=image.name, size=image.size, scores={}, boxes=image.boxes))
    same = figures(world, tmp_path / "half", tmp_path / "out")
    assert same.report.warnings == {"images without a localization: misses": 8}
    for metric in DETECTION:
        assert same.values[metric] == pytest.approx(theirs.values[metric], abs=1e-6)


def test_localizations_of_another_class_list_are_refused(world, predicted, tmp_path):
    with LocalizationWriter(tmp_path) as writer:
        for image in predicted:
            writer.write(Localization(path=image.name, size=image.size, scores={"Rad": 0.5}, boxes=Boxes.empty()))
    with pytest.raises(UserError, match="none of its 1 classes is in the data set: it has 'Rad', did you mean"):
        figures(world, tmp_path, tmp_path / "out")


def test_localizations_in_fractions_are_refused(world, predicted, tmp_path):
    with LocalizationWriter(tmp_path) as writer:
        for image in predicted:
            boxes = Boxes(xyxy=[[0.25, 0.25, 0.75, 1]], labels=["red"])
            writer.write(Localization(path=image.name, size=image.size, scores={}, boxes=boxes))
    with pytest.raises(UserError, match=r"are within 0\.\.1 in images such as one of 80x64 pixels"):
        figures(world, tmp_path, tmp_path / "out")
