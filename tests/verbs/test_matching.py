"""Predictions and annotations whose files share a name: each image gets its own annotation, in every verb."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsl.config import DataConfig, EvaluateConfig, ExportConfig, VisualizeConfig
from wsl.errors import UserError
from wsl.verbs.evaluate import evaluate
from wsl.verbs.export import export
from wsl.verbs.visualize import visualize

SIZE = (80, 64)
BOXES = {"camA/0000.png": ("blue", [2, 2, 24, 24]), "camB/0000.png": ("red", [50, 30, 72, 52])}


def coco(root: Path, split: str, boxes: dict[str, tuple[str, list[int]]]) -> Path:
    """A split whose images have one box each."""
    document = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "blue"}, {"id": 2, "name": "red"}]}
    for number, (name, (label, (x0, y0, x1, y1))) in enumerate(boxes.items(), 1):
        (root / split / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / split / name), np.full((*SIZE[::-1], 3), 90, np.uint8))
        document["images"].append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        category = 1 if label == "blue" else 2
        box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
        document["annotations"].append({"id": number, "image_id": number, "category_id": category, **box})
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def localizations(path: Path, boxes: dict[str, tuple[str, list[int]]]) -> Path:
    records = (
        {
            "image": name,
            "size": SIZE,
            "scores": {label: 0.9},
            "boxes": [{"label": label, "score": 0.9, "xyxy": box}],
            "points": {},
        }
        for name, (label, box) in boxes.items()
    )
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def value(report, name):
    return next(metric.value for metric in report.metrics if metric.name == name)


@pytest.fixture
def cameras(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    coco(tmp_path / "c", "val", BOXES)
    return Path("c")


def test_coco_results_of_images_with_one_file_name(cameras):
    document = json.loads((cameras / "annotations" / "instances_val.json").read_text(encoding="utf-8"))
    keys = ("image_id", "category_id", "bbox")
    perfect = [{**{key: row[key] for key in keys}, "score": 0.9} for row in document["annotations"]]
    Path("perfect.json").write_text(json.dumps(perfect), encoding="utf-8")
    config = EvaluateConfig(data=DataConfig(data=cameras), predictions=Path("perfect.json"), out=Path("out"))
    report = evaluate(config)
    assert (report.images, value(report, "AP50"), value(report, "COCO AP")) == (2, 1, pytest.approx(1))


def test_localizations_of_images_with_one_file_name(cameras):
    for root in ("c/val", "/old/c/val", "."):
        found = localizations(Path("found.jsonl"), {f"{root}/{name}": box for name, box in BOXES.items()})
        report = evaluate(EvaluateConfig(data=DataConfig(data=cameras), predictions=found, out=Path("out")))
        assert (report.images, value(report, "AP50")) == (2, 1)
    found = localizations(Path("found.jsonl"), {"0000.png": BOXES["camA/0000.png"]})
    with pytest.raises(UserError, match=r"0000\.png fits .*camA.* and .*camB.* equally well"):
        evaluate(EvaluateConfig(data=DataConfig(data=cameras), predictions=found, out=Path("out")))


def test_score_maps_of_images_with_one_file_name(cameras):
    for name, (_, (x0, y0, x1, y1)) in BOXES.items():
        score_map = np.zeros(SIZE[::-1])
        score_map[y0:y1, x0:x1] = 1
        (Path("maps") / name).parent.mkdir(parents=True)
        np.save(Path("maps") / Path(name).with_suffix(".npy"), score_map)
    report = evaluate(EvaluateConfig(data=DataConfig(data=cameras), predictions=Path("maps"), out=Path("out")))
    assert (report.images, value(report, "CorLoc")) == (2, 1)


def test_predictions_of_another_split_are_left_out(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    train, val = ("red", [2, 2, 22, 22]), ("red", [40, 40, 60, 60])
    for split, box in (("train", train), ("val", val)):
        coco(tmp_path / "c", split, {"0001.png": box})
    data = DataConfig(data=Path("c"))
    both = localizations(Path("both.jsonl"), {"c/train/0001.png": train, "c/val/0001.png": val})
    report = evaluate(EvaluateConfig(data=data, predictions=both, out=Path("out")))
    assert (report.images, report.missing, value(report, "AP50")) == (1, 0, 1)
    assert any("such as c/train/0001.png (an image of the split is c/val/0001.png)" in line for line in caplog.messages)
    only = localizations(Path("train.jsonl"), {"c/train/0001.png": train})
    with pytest.raises(UserError, match="none of its 1 localizations is of an image of split val"):
        evaluate(EvaluateConfig(data=data, predictions=only, out=Path("out")))


def page(found: Path, data: Path, out: Path) -> str:
    visualize(VisualizeConfig(predictions=found, data=DataConfig(data=data), report=True, out=out))
    return (out / "report.html").read_text(encoding="utf-8")


def test_the_report_shows_each_image_its_own_boxes(cameras):
    found = localizations(Path("found.jsonl"), {f"c/val/{name}": box for name, box in BOXES.items()})
    text = page(found, cameras, Path("out"))
    assert re.findall(r'"outcome":"?([^",}]*)', text) == ["right", "right"]


def test_the_report_has_no_outcome_where_nobody_drew_boxes(cameras):
    for name in ("dog/1.png", "cat/2.png"):
        (Path("folders/val") / name).parent.mkdir(parents=True)
        cv2.imwrite(f"folders/val/{name}", np.full((*SIZE[::-1], 3), 90, np.uint8))
    found = localizations(Path("found.jsonl"), {"folders/val/dog/1.png": ("dog", [0, 0, 9, 9])})
    assert re.findall(r'"outcome":"?([^",}]*)', page(found, Path("folders"), Path("out"))) == ["null"]


def test_pictures_show_each_image_its_own_boxes(cameras):
    found = localizations(Path("found.jsonl"), {f"c/val/{name}": ("blue", [30, 30, 40, 40]) for name in BOXES})
    visualize(VisualizeConfig(predictions=found, data=DataConfig(data=cameras), sheet=False, out=Path("out")))
    for picture, (_, (x0, y0, _, y1)) in zip(("0000", "0000~2"), BOXES.values(), strict=True):
        image = cv2.imread(f"out/images/{picture}.png")
        scale = image.shape[1] / SIZE[0]
        edge = image[round(y0 * scale) : round(y1 * scale), round(x0 * scale)]
        assert {0, 255} <= set(edge.ravel().tolist()), "black and white dashes"


def test_the_numbers_of_a_reference_are_those_of_the_same_folder(cameras):
    found = localizations(Path("localizations.jsonl"), {f"c/val/{name}": box for name, box in BOXES.items()})
    reference = cameras / "annotations" / "instances_val.json"
    settings = {"sources": (found,), "format": "coco-results", "classes": ("blue", "red"), "reference": reference}
    result = export(ExportConfig(out=Path("out"), **settings))
    assert [row["image_id"] for row in json.loads(result.path.read_text(encoding="utf-8"))] == [1, 2]
    document = json.loads(reference.read_text(encoding="utf-8"))
    reference.write_text(json.dumps({**document, "images": document["images"][:1]}), encoding="utf-8")
    with pytest.raises(UserError, match=r"lists no image 'camB/0000\.png'"):
        export(ExportConfig(out=Path("out"), overwrite=True, **settings))
    assert result.path.is_file()


@pytest.mark.parametrize(("kind", "field"), [("images", "file_name"), ("categories", "name")])
def test_ids_that_coco_uses_twice_are_refused(cameras, kind, field):
    path = cameras / "annotations" / "instances_val.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document[kind][1]["id"] = 1
    path.write_text(json.dumps(document), encoding="utf-8")
    first, second = (row[field] for row in document[kind])
    with pytest.raises(UserError, match=f"{kind} '{first}' and '{second}' have the same id 1; expected unique ids"):
        export(ExportConfig(sources=(path,), source_format="coco", format="yolo", out=Path("out")))


def test_a_file_that_coco_lists_twice_is_refused(cameras):
    path = cameras / "annotations" / "instances_val.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["images"][1]["file_name"] = document["images"][0]["file_name"]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"camA/0000\.png is the file_name of 2 images; expected each file once"):
        evaluate(EvaluateConfig(data=DataConfig(data=cameras), predictions=path, out=Path("out")))
