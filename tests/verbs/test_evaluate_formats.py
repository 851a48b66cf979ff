"""One set of predictions, told in four ways, gives the same figures; what cannot be is one line."""

import json
import shutil
from collections import defaultdict

import cv2
import numpy as np
import pytest

from wsl.config import BoxConfig, DataConfig, EvaluateConfig, LocalizeConfig, PickConfig, RuntimeConfig
from wsl.data import read_voc
from wsl.errors import RunError, UserError
from wsl.formats import read_localizations
from wsl.maps import heatmap
from wsl.tables import report_table
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import run_localize

CPU = RuntimeConfig(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def found(run, photos, tmp_path_factory):
    """The validation images localized, every class of each, with maps."""
    out = tmp_path_factory.mktemp("found")
    pick = PickConfig(top_k=None)
    sources = (str(photos / "val*.png"),)
    run_localize(LocalizeConfig(sources=sources, weights=str(run), out=out, pick=pick, maps=True, runtime=CPU))
    return out


@pytest.fixture(scope="module")
def lists(world, tmp_path_factory):
    """The images of one class, as the benchmark's metadata lists."""
    folder = tmp_path_factory.mktemp("metadata") / "things" / "val"
    folder.mkdir(parents=True)
    classes = ["blue", "red"]
    (folder.parent / "classes.txt").write_text("\n".join(classes), encoding="utf-8")
    texts = defaultdict(str)
    for sample in read_voc(world, "val").samples:
        if len(sample.labels) == 1:
            name = f"JPEGImages/{sample.path.name}"
            texts["image_ids"] += f"{name}\n"
            texts["class_labels"] += f"{name},{classes.index(sample.labels[0])}\n"
            texts["image_sizes"] += f"{name},{sample.size[0]},{sample.size[1]}\n"
            for x0, y0, x1, y1 in sample.boxes.xyxy.tolist():
                texts["localization"] += f"{name},{x0},{y0},{x1 - 1},{y1 - 1}\n"
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder.parent


@pytest.fixture(scope="module")
def score_maps(found, tmp_path_factory):
    """The maps of the one class in an image as the benchmark stores them: 224x224 doubles in [0, 1]."""
    folder = tmp_path_factory.mktemp("maps")
    (folder / "JPEGImages").mkdir()
    for one in read_localizations(found):
        label = max(one.scores, key=one.scores.get)
        score_map = heatmap(one.maps[label], (224, 224)).astype(np.float64)
        np.save(folder / "JPEGImages" / f"{one.path.name}.npy", score_map)
    return folder


def value(report, name):
    return next(metric for metric in report.metrics if metric.name == name).value


def test_score_maps_with_metadata_lists(lists, score_maps, found, tmp_path):
    """No image is needed: ids, sizes and boxes are in the lists."""
    report = evaluate(EvaluateConfig(data=DataConfig(data=lists), predictions=score_maps, out=tmp_path, runtime=CPU))
    assert (report.images, report.missing) == (11, 0)
    assert report.warnings == {"score maps that belong to no image of the split: left out": 5}
    assert str(report.boxes) == "threshold 0.2 (largest component), the default"
    names = [metric.name for metric in report.metrics]
    assert {"pointing", "CorLoc", "AP50", "MaxBoxAcc@0.5", "COCO AP"} <= set(names)
    assert value(report, "pointing") > 0.9
    data = DataConfig(data=lists)
    ours = evaluate(EvaluateConfig(data=data, predictions=found, out=tmp_path / "ours", runtime=CPU))
    assert ours.images == 11
    for name in ("pointing", "MaxBoxAcc@0.3"):
        assert value(ours, name) == pytest.approx(value(report, name), abs=0.1)
    text = (tmp_path / "evaluation.md").read_text(encoding="utf-8")
    assert "* 5 score maps that belong to no image of the split: left out" in text
    assert "Run time: reading" in report_table(report)
    assert "Run time" not in text, "two runs write the same report"


def test_given_thresholds_draw_the_boxes(lists, score_maps, tmp_path):
    boxes = BoxConfig(threshold=0.9, box_rule="peak")
    config = EvaluateConfig(data=DataConfig(data=lists), predictions=score_maps, out=tmp_path, boxes=boxes)
    report = evaluate(config)
    assert str(report.boxes) == "threshold 0.9 (component of the peak), given"
    assert value(report, "CorLoc (pairs)") < value(report, "CorLoc (pairs, optimistic)")


def test_our_boxes_are_drawn_anew_where_a_threshold_is_given(world, found, tmp_path):
    data = DataConfig(data=world)
    stored = evaluate(EvaluateConfig(data=data, predictions=found, out=tmp_path))
    same = evaluate(EvaluateConfig(data=data, predictions=found, out=tmp_path, boxes=BoxConfig(threshold=0.2)))
    other = evaluate(EvaluateConfig(data=data, predictions=found, out=tmp_path, boxes=BoxConfig(threshold=0.8)))
    assert str(stored.boxes) == "threshold 0.2 (largest component), the default"
    assert str(same.boxes) == "threshold 0.2 (largest component), given"
    assert value(same, "CorLoc") == pytest.approx(value(stored, "CorLoc"), abs=0.1)
    assert value(other, "CorLoc") != value(stored, "CorLoc")


def voc_files(found, folder, split="val"):
    folder.mkdir()
    lines = defaultdict(str)
    for one in read_localizations(found):
        for label, score, (x0, y0, x1, y1) in zip(one.boxes.labels, one.boxes.scores, one.boxes.xyxy, strict=True):
            lines[label] += f"{one.id} {float(score)!r} {x0 + 1:.9g} {y0 + 1:.9g} {x1:.9g} {y1:.9g}\n"
    for label, text in lines.items():
        (folder / f"comp4_det_{split}_{label}.txt").write_text(text, encoding="utf-8")
    return folder


DETECTION = ("CorLoc", "AP50", "AP50 (11-point)", "COCO AP", "COCO AP50")


def test_the_devkit_s_files_give_the_figures_of_the_boxes_they_list(world, found, tmp_path):
    ours = evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=found, out=tmp_path))
    files = voc_files(found, tmp_path / "results")
    theirs = evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=files, out=tmp_path))
    assert str(theirs.boxes) == "boxes of another system"
    assert theirs.missing == 0
    for name in DETECTION:
        assert value(theirs, name) == pytest.approx(value(ours, name), abs=1e-6)
    assert not {"mAP", "pointing", "MaxBoxAcc@0.5"} & {metric.name for metric in theirs.metrics}


@pytest.fixture(scope="module")
def coco_world(world, photos, tmp_path_factory):
    """The validation images in COCO's layout."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    numbers = {"red": 7, "blue": 3}
    document = {"images": [], "annotations": [], "categories": [{"id": i, "name": n} for n, i in numbers.items()]}
    for number, sample in enumerate(read_voc(world, "val").samples, 100):
        (root / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(root / "images" / sample.path.name), cv2.imread(str(sample.path)))
        width, height = sample.size
        document["images"].append({"id": number, "file_name": sample.path.name, "width": width, "height": height})
        for label, (x0, y0, x1, y1) in zip(sample.boxes.labels, sample.boxes.xyxy.tolist(), strict=True):
            row = {"image_id": number, "category_id": numbers[label], "bbox": [x0, y0, x1 - x0, y1 - y0]}
            document["annotations"].append({**row, "id": len(document["annotations"]) + 1, "iscrowd": 0})
    (root / "annotations" / "instances_val.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def test_coco_results_give_the_figures_of_the_boxes_they_list(coco_world, found, tmp_path):
    document = json.loads((coco_world / "annotations" / "instances_val.json").read_text(encoding="utf-8"))
    images = {image["file_name"]: image["id"] for image in document["images"]}
    categories = {category["name"]: category["id"] for category in document["categories"]}
    results = [
        {
            "image_id": images[one.path.name],
            "category_id": categories[label],
            "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)],
            "score": float(score),
        }
        for one in read_localizations(found)
        for label, score, (x0, y0, x1, y1) in zip(one.boxes.labels, one.boxes.scores, one.boxes.xyxy, strict=True)
    ]
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    data = DataConfig(data=coco_world)
    ours = evaluate(EvaluateConfig(data=data, predictions=found, out=tmp_path))
    theirs = evaluate(EvaluateConfig(data=data, predictions=tmp_path / "results.json", out=tmp_path))
    for name in DETECTION:
        assert value(theirs, name) == pytest.approx(value(ours, name), abs=1e-6)


def test_coco_s_polygons_are_masks_and_targets(coco_world, found, tmp_path):
    """Of polygons around the boxes' pixels, the boxes' figures and those of masks of the same pixels."""
    document = json.loads((coco_world / "annotations" / "instances_val.json").read_text(encoding="utf-8"))
    for row in document["annotations"]:
        x, y, width, height = row["bbox"]
        row["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    (tmp_path / "instances_outlined.json").write_text(json.dumps(document), encoding="utf-8")
    shutil.copytree(coco_world / "images", tmp_path / "images")
    plain = evaluate(EvaluateConfig(data=DataConfig(data=coco_world), predictions=found, out=tmp_path))
    data = DataConfig(data=tmp_path / "instances_outlined.json")
    outlined = evaluate(EvaluateConfig(data=data, split="all", predictions=found, out=tmp_path))
    masks = {"PxAP", "mIoU", "class mask AP"}
    assert not masks & {metric.name for metric in plain.metrics}
    assert masks <= {metric.name for metric in outlined.metrics}
    for name in (*DETECTION, "pointing", "pointing (pairs)"):
        assert value(outlined, name) == value(plain, name)
    (pairs,) = [metric for metric in outlined.metrics if metric.name == "pointing (pairs)"]
    assert "against outlines" in pairs.note


def test_coco_s_numbers_of_images_need_coco_s_annotations(world, tmp_path):
    row = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    (tmp_path / "results.json").write_text(json.dumps([row]), encoding="utf-8")
    with pytest.raises(UserError, match="category_id 1, which may be counted from 0 or from 1"):
        evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=tmp_path / "results.json", out=tmp_path))


def test_boxes_of_others_have_no_maps_to_draw_from(world, found, tmp_path):
    files = voc_files(found, tmp_path / "results")
    for options in ({"boxes": BoxConfig(threshold=0.3)},):
        with pytest.raises(UserError, match="holds boxes and no maps"):
            evaluate(EvaluateConfig(data=DataConfig(data=world), predictions=files, out=tmp_path, **options))


def test_our_boxes_without_maps_cannot_be_drawn_anew(world, found, tmp_path):
    lines = (found / "localizations.jsonl").read_text(encoding="utf-8").splitlines()
    text = "\n".join(json.dumps({**json.loads(line), "maps": None}) for line in lines)
    (tmp_path / "localizations.jsonl").write_text(text, encoding="utf-8")
    config = EvaluateConfig(
        data=DataConfig(data=world), predictions=tmp_path, out=tmp_path, boxes=BoxConfig(threshold=0.3)
    )
    with pytest.raises(UserError, match="has boxes and no maps to draw others from: run wsl-localize with --maps"):
        evaluate(config)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("coco", "COCO's layout|cannot be read"), ("voc", "none of its 0 result files"), ("localizations", "no local")],
)
def test_a_format_given_is_taken_at_its_word(world, score_maps, tmp_path, kind, message):
    config = EvaluateConfig(
        data=DataConfig(data=world), predictions=score_maps, predictions_format=kind, out=tmp_path, runtime=CPU
    )
    with pytest.raises(UserError, match=message):
        evaluate(config)


def test_masks_of_the_lists_with_pixels_to_ignore(tmp_path):
    """The map is 1 on the object, 0.6 where nobody is sure, and 0.5 on a quarter of the rest."""
    lists, maps = tmp_path / "OpenImages" / "test", tmp_path / "maps"
    for folder in (lists, maps, tmp_path / "OpenImages" / "m"):
        folder.mkdir(parents=True)
    texts = {
        "image_ids": "a.jpg",
        "class_labels": "a.jpg,0",
        "image_sizes": "a.jpg,8,8",
        "localization": "a.jpg,m/0.png,m/ignore.png\na.jpg,m/1.png,m/ignore.png",
    }
    for name, text in texts.items():
        (lists / f"{name}.txt").write_text(text, encoding="utf-8")
    one, other, ignored, score_map = (np.zeros((8, 8)) for _ in range(4))
    one[:2, :4], other[:2, 4:], ignored[1:4] = 1, 1, 1
    score_map[:2], score_map[2:4], score_map[4:, :2] = 1, 0.6, 0.5
    for name, mask in (("0", one), ("1", other), ("ignore", ignored)):
        cv2.imwrite(str(tmp_path / "OpenImages" / "m" / f"{name}.png"), (255 * mask).astype(np.uint8))
    np.save(maps / "a.npy", score_map)
    data = DataConfig(data=tmp_path / "OpenImages", image_root=tmp_path / "OpenImages")
    report = evaluate(EvaluateConfig(data=data, split="test", predictions=maps, out=tmp_path / "out"))
    assert value(report, "PxAP") == pytest.approx(1.0)
    (lists / "localization.txt").write_text("a.jpg,m/0.png,\na.jpg,m/1.png,", encoding="utf-8")
    report = evaluate(EvaluateConfig(data=data, split="test", predictions=maps, out=tmp_path / "out"))
    assert value(report, "PxAP") == pytest.approx(1.0)
    (lists / "localization.txt").write_text("a.jpg,m/ignore.png,", encoding="utf-8")
    report = evaluate(EvaluateConfig(data=data, split="test", predictions=maps, out=tmp_path / "out"))
    found, all_found = 8 / 24 * 8 / 16, 16 / 24 * 24 / 32  # half of the first 16 pixels; then 24 of 32
    assert value(report, "PxAP") == pytest.approx(found + all_found, abs=0.01)
    assert "MaxBoxAcc@0.5" not in {metric.name for metric in report.metrics}
    (tmp_path / "OpenImages" / "m" / "ignore.png").unlink()
    with pytest.raises(UserError, match=r"ignore\.png: no such mask"):
        evaluate(EvaluateConfig(data=data, split="test", predictions=maps, out=tmp_path / "out"))


def test_maps_of_images_in_no_list_are_a_user_s_mistake(lists, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((2, 2)))
    config = EvaluateConfig(data=DataConfig(data=lists), predictions=tmp_path, out=tmp_path)
    with pytest.raises((UserError, RunError), match="none of its 1 score maps"):
        evaluate(config)


def test_maps_of_nothing_but_nan_are_misses_and_counted(lists, tmp_path):
    folder = tmp_path / "maps" / "JPEGImages"
    folder.mkdir(parents=True)
    names = (lists / "val" / "image_ids.txt").read_text(encoding="utf-8").split()
    for i, name in enumerate(names):
        box = np.zeros((4, 4))
        box[1:3, 1:3] = np.nan if i == 0 else 1
        np.save(folder.parent / f"{name}.npy", box)
    report = evaluate(EvaluateConfig(data=DataConfig(data=lists), predictions=tmp_path / "maps", out=tmp_path))
    assert report.warnings == {"score maps with a NaN or an infinity: misses": 1}
    pointing = next(metric for metric in report.metrics if metric.name == "pointing")
    assert pointing.count == len(names)
    assert "1 missing: misses" in pointing.note
