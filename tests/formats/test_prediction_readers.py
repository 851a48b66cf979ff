"""Predictions in other systems' formats: the same boxes from each, and mistakes of every kind in one line."""

import json
from collections import Counter
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.boxes import Boxes
from wsl.config import EvaluateConfig
from wsl.config.evaluate import PredictionsFormat
from wsl.errors import UserError
from wsl.formats import READERS, LocalizationWriter, Numbers, Split, detect_predictions
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.labelled import Labelled
from wsl.results import Localization
from wsl.samples import Sample, SampleSet

SIZES = {"000012": (40, 30), "b": (50, 20), "nothing": (30, 30)}
SAMPLES = SampleSet(
    classes=("cat", "dog", "emu"),
    samples=[
        Sample(path=f"/photos/{name}.jpg", labels=["dog"], size=size, boxes=Boxes.empty())
        for name, size in SIZES.items()
    ],
)
ROWS = [
    ("000012", "dog", 0.75, (1.0, 2.0, 11.0, 22.0)),
    ("000012", "emu", 0.5, (0.0, 0.0, 40.0, 30.0)),
    ("b", "cat", 0.25, (10.0, 5.0, 45.0, 15.0)),
]


def images():
    for name, size in SIZES.items():
        rows = [row for row in ROWS if row[0] == name]
        yield Labelled(
            name=f"{name}.jpg",
            size=size,
            boxes=Boxes(
                xyxy=np.array([xyxy for *_, xyxy in rows], np.float32).reshape(-1, 4),
                labels=tuple(label for _, label, _, _ in rows),
                scores=np.array([score for _, _, score, _ in rows], np.float32),
            ),
        )


def exported(name):
    def write(folder):
        FORMATS[name].write(images(), folder, SAMPLES.classes, scores=True)
        return folder

    return write


def save(path, document):
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def own(folder):
    with LocalizationWriter(folder) as writer:
        for image in images():
            path = f"/photos/{image.name}"
            writer.write(Localization(path=path, size=image.size, scores={"dog": 0.5}, boxes=image.boxes))
    return folder


def devkit(folder):
    for label in SAMPLES.classes:
        lines = [
            f"{image} {score} {x0 + 1} {y0 + 1} {x1} {y1}"
            for image, name, score, (x0, y0, x1, y1) in ROWS
            if name == label
        ]
        save(folder / f"comp4_det_val_{label}.txt", "\n".join(lines))
    return folder


def xywh(xyxy):
    x0, y0, x1, y1 = xyxy
    return [x0, y0, x1 - x0, y1 - y0]


def relative(image, xyxy):
    width, height = SIZES[image]
    x, y, w, h = xywh(xyxy)
    return [x / width, y / height, w / width, h / height]


def coco_export(folder):
    FORMATS["coco-results"].write(images(), folder, SAMPLES.classes)
    return folder


def ultralytics(folder):
    """An image is the number of its name, or its name; classes count from 1."""
    rows = [
        {
            "image_id": int(image) if image.isdecimal() else image,
            "category_id": SAMPLES.classes.index(label) + 1,
            "bbox": xywh(xyxy),
            "score": score,
        }
        for image, label, score, xyxy in ROWS
    ]
    return save(folder / "predictions.json", rows).parent


def named(folder):
    rows = [
        {"file_name": f"{image}.jpg", "category_name": label, "bbox": xywh(xyxy), "score": score}
        for image, label, score, xyxy in ROWS
    ]
    return save(folder / "found.json", rows)


def coco_document(folder):
    FORMATS["coco"].write(images(), folder, SAMPLES.classes, scores=True)
    return folder / "annotations" / "instances_all.json"


def torchvision(folder):
    records = {}
    for image, label, score, xyxy in ROWS:
        record = records.setdefault(f"{image}.jpg", {"boxes": [], "labels": [], "scores": []})
        record["boxes"].append(list(xyxy))
        record["labels"].append(SAMPLES.classes.index(label) + 1)
        record["scores"].append(score)
    return save(folder / "outputs.json", records)


def fiftyone_detections():
    found = {}
    for image, label, score, xyxy in ROWS:
        box = {"_cls": "Detection", "label": label, "bounding_box": relative(image, xyxy), "confidence": score}
        found.setdefault(image, []).append(box)
    return found


def fiftyone(folder):
    truth = {"_cls": "Detections", "detections": [{"_cls": "Detection", "label": "cat", "bounding_box": [0, 0, 1, 1]}]}
    records = [
        {"filepath": f"data/{image}.jpg", "ground_truth": truth, "yolo": {"_cls": "Detections", "detections": boxes}}
        for image, boxes in fiftyone_detections().items()
    ]
    return save(folder / "samples.json", {"samples": records}).parent


def fiftyone_labels(folder):
    labels = {
        image: [{**box, "label": SAMPLES.classes.index(box["label"])} for box in boxes]
        for image, boxes in fiftyone_detections().items()
    }
    return save(folder / "labels.json", {"classes": list(SAMPLES.classes), "labels": {**labels, "nothing": None}})


def yolo_bare(folder):
    """As ultralytics writes them: no data.yaml, no file for an image without a box."""
    exported("yolo")(folder)
    (folder / "data.yaml").unlink()
    (folder / "labels" / "nothing.txt").unlink()
    return folder


def parquet(folder):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for number, image in enumerate(images()):
        boxes = [
            {"label": label, "score": score, **dict(zip(("x0", "y0", "x1", "y1"), xyxy, strict=True))}
            for name, label, score, xyxy in ROWS
            if f"{name}.jpg" == image.name
        ]
        box = pa.struct([("label", pa.string()), *((name, pa.float32()) for name in ("score", "x0", "y0", "x1", "y1"))])
        table = pa.table(
            {
                "id": [Path(image.name).stem],
                "path": [f"/photos/{image.name}"],
                "width": [image.size[0]],
                "height": [image.size[1]],
                "scores": pa.array([[("dog", 0.5)]], pa.map_(pa.string(), pa.float32())),
                "boxes": pa.array([boxes], pa.list_(box)),
                "points": pa.array([[{"label": "dog", "x": 3, "y": 4}]]),
                "error": pa.array([None], pa.string()),
            }
        )
        pq.write_table(table, folder / f"part-{number:04d}.parquet")
    return folder


WRITERS = {
    "localizations": [own],
    "voc": [devkit],
    "coco": [coco_export, ultralytics, named, coco_document],
    "torchvision": [torchvision],
    "yolo": [exported("yolo"), yolo_bare],
    "labelme": [exported("labelme")],
    "label-studio": [exported("label-studio")],
    "fiftyone": [fiftyone, fiftyone_labels],
    "cvat": [exported("cvat")],
    "csv": [exported("csv")],
    "parquet": [parquet],
}


def read(kind, place, samples=SAMPLES, numbers=None):
    warnings = Counter()
    split = Split(samples=samples, name="val", numbers=numbers)
    return {sample.id: found for found, sample in READERS[kind].read(place, split, warnings)}, warnings


def test_the_command_line_offers_every_reader():
    assert get_type_hints(EvaluateConfig)["predictions_format"] == PredictionsFormat
    assert set(PredictionsFormat.__args__) == {"auto", *READERS}
    assert set(READERS) == {*WRITERS, "maps"}


@pytest.mark.parametrize(("kind", "write"), [(kind, write) for kind, writers in WRITERS.items() for write in writers])
def test_each_format_is_recognised_and_gives_the_same_boxes(kind, write, tmp_path):
    place = write(tmp_path)
    assert detect_predictions(place) == kind
    found, warnings = read(kind, place)
    assert set(found) == set(SIZES)
    for image in images():
        boxes = found[Path(image.name).stem].boxes
        order = np.argsort(-boxes.scores)
        assert boxes.select(order).labels == image.boxes.labels
        np.testing.assert_allclose(boxes.scores[order], image.boxes.scores, rtol=1e-6)
        np.testing.assert_allclose(boxes.xyxy[order], image.boxes.xyxy, atol=2e-3)
    assert not warnings


@pytest.mark.parametrize(
    "names",
    [
        ["annotations/instances_val.json", "annotations/instances_train.json"],
        ["annotations/instances_val2017.json", "annotations/instances_train2017.json"],
        ["valid/_annotations.coco.json", "train/_annotations.coco.json"],
        ["annotations/instances_a.json", "annotations/instances_b.json"],
        ["found.json"],
    ],
)
def test_a_coco_folder_with_splits_gives_the_boxes_of_the_split(names, tmp_path):
    """The other file has boxes of other images; without a file that is named like the split, all are read."""
    document = json.loads(coco_document(tmp_path / "export").read_text(encoding="utf-8"))
    other = {**document, "images": [{**image, "file_name": f"{image['id']}_.jpg"} for image in document["images"]]}
    for name, content in zip(names, (document, other), strict=False):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "set" / name, content)
    assert detect_predictions(tmp_path / "set") == "coco"
    found, warnings = read("coco", tmp_path / "set")
    assert [len(found[name].boxes) for name in SIZES] == [2, 1, 0]
    left_out = {"detections in images outside the split: left out": 3} if "instances_a" in names[0] else {}
    assert warnings == left_out


def test_the_only_json_of_a_folder_may_be_torchvision_s(tmp_path):
    assert torchvision(tmp_path).name == "outputs.json"
    assert detect_predictions(tmp_path) == "torchvision"
    found, _ = read("torchvision", tmp_path)
    assert [len(found[name].boxes) for name in SIZES] == [2, 1, 0]


def test_parquet_has_scores_and_points_and_tells_of_images_that_failed(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    found, _ = read("parquet", parquet(tmp_path))
    assert found["b"].scores == {"dog": 0.5}
    assert found["b"].points == {"dog": (3, 4)}
    table = pq.read_table(tmp_path / "part-0001.parquet")
    column = table.schema.get_field_index("error")
    table = table.set_column(column, "error", pa.array(["truncated"], pa.string()))
    pq.write_table(table, tmp_path / "part-0001.parquet")
    found, warnings = read("parquet", tmp_path)
    assert not len(found["b"].boxes)
    assert warnings == {
        "images that could not be read when they were localized": 1,
        "images without a localization: misses": 1,
    }
    (tmp_path / "part-0000.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"part-0000\.parquet: not readable as Parquet"):
        read("parquet", tmp_path)
    pq.write_table(table.drop_columns(["boxes"]), tmp_path / "part-0000.parquet")
    with pytest.raises(UserError, match="has the columns id, path, width, height, scores, points, error, expected"):
        read("parquet", tmp_path)


@pytest.mark.parametrize("height", [0, -3, 1 << 40])
def test_parquet_of_a_size_that_no_image_has_is_refused(height, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pq.read_table(parquet(tmp_path) / "part-0001.parquet")
    place = table.column_names.index("height")
    table = table.set_column(place, "height", pa.array([height] * len(table), pa.int64()))
    pq.write_table(table, tmp_path / "part-0001.parquet")
    with pytest.raises(UserError, match=r"part-0001\.parquet: row 0: size: .* pixels"):
        read("parquet", tmp_path)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(UserError, match=r"pip install 'wsl-toolkit\[shards\]'"):
        read("parquet", tmp_path)


def test_numbers_of_coco_s_annotations_go_before_positions(tmp_path):
    rows = [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]
    numbers = lambda: Numbers({7: "b.jpg"}, {3: "emu", 1: "cat", 2: "dog"})  # noqa: E731
    found, _ = read("coco", save(tmp_path / "r.json", rows), numbers=numbers)
    assert found["b"].boxes.labels == ("emu",)
    # Ultralytics counts from 0 in versions before 8.3: 0 is none of the annotations' numbers.
    rows += [{**rows[0], "category_id": 0}, {**rows[0], "category_id": 2}]
    found, _ = read("coco", save(tmp_path / "r.json", rows[1:]), numbers=numbers)
    assert found["b"].boxes.labels == ("cat", "emu")


def test_label_studio_s_predictions_go_before_corrections(tmp_path):
    folder = exported("label-studio")(tmp_path)
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    for task in tasks:
        task["annotations"] = [{"result": []}]
        task["data"]["image"] = "/data/upload/3/0a1b2c3d-" + task["data"]["image"].rpartition("=")[2]
        del task["meta"]
        for result in task["predictions"][0]["result"]:
            del result["score"]
    found, warnings = read("label-studio", save(folder / "tasks.json", tasks).parent)
    assert found["000012"].boxes.scores.tolist() == [0.75, 0.75]
    assert not warnings
    tasks[0]["predictions"].append({"model_version": "other", "result": []})
    with pytest.raises(UserError, match="predictions of the models wsl-toolkit and other, expected those of one"):
        read("label-studio", save(folder / "tasks.json", tasks).parent)


def test_label_studio_s_folders_of_a_file_a_task(tmp_path):
    """As its target storage writes them: an annotation, and its task inside."""
    folder = exported("label-studio")(tmp_path)
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    (tmp_path / "storage").mkdir()
    for number, task in enumerate(tasks):
        record = {"id": number, "result": task["predictions"][0]["result"], "task": {"data": task["data"]}}
        save(tmp_path / "storage" / f"{number}.json", record)
    assert detect_predictions(tmp_path / "storage") == "label-studio"
    found, warnings = read("label-studio", tmp_path / "storage")
    assert found["000012"].boxes.scores.tolist() == [0.75, 0.5]
    assert not warnings


def test_labelme_s_scores_and_images_elsewhere(tmp_path):
    folder = exported("labelme")(tmp_path)
    document = json.loads((folder / "b.json").read_text(encoding="utf-8"))
    document["imagePath"] = "..\\images\\b.jpg"
    document["shapes"][0] |= {"score": 0.125, "description": "a shy one"}
    save(folder / "b.json", document)
    found, _ = read("labelme", folder)
    assert found["b"].boxes.scores.tolist() == [0.125]


ROW = {"image_id": "b", "category_name": "dog", "bbox": [1, 2, 3, 4], "score": 0.5}
BOX = {"label": "dog", "bounding_box": [0.1, 0.2, 0.3, 0.4], "confidence": 0.5}


def samples_json(**fields):
    return {"samples": [{"filepath": "data/b.jpg", **fields}]}


@pytest.mark.parametrize(
    ("kind", "document", "message"),
    [
        ("coco", [{**ROW, "category_name": "Dgo"}], "none of its 1 classes .* it has 'Dgo', did you mean 'dog'\\?"),
        (
            "coco",
            [{**ROW, "category_name": None, "category_id": "2"}],
            "category_id '2', a text; expected the number 2",
        ),
        ("coco", [{**ROW, "category_name": 2}], "category_id 2, which may be counted from 0 or from 1"),
        ("coco", [{**ROW, "category_name": 9}], "category_id 9, which is not a position in the class list"),
        ("coco", [{**ROW, "category_name": None}], "category_id None, expected a number or category_name"),
        ("coco", [{**ROW, "image_id": "z"}], "none of its 1 detections is in an image .* it names 'z'"),
        ("coco", [{**ROW, "bbox": [0.1, 0.2, 0.3, 0.4]}], "look like fractions of the image, expected pixels"),
        ("coco", [{**ROW, "bbox": [20, 10 + i, 45, 15 + i]} for i in range(5)], "look like corners, expected a corner"),
        ("torchvision", {"b.jpg": {"boxes": [[9, 9, 5, 5]], "labels": ["dog"], "scores": [1]}}, "were sides written"),
        ("torchvision", {"b.jpg": {"boxes": [], "labels": ["dog"], "scores": [1]}}, "0 boxes, 1 labels and 1 scores"),
        ("torchvision", {"b.jpg": {"boxes": [[1, 2]], "labels": [1], "scores": [1]}}, r"is \[1, 2\], expected \[x0"),
        ("torchvision", {"b.jpg": {"boxes": [[1, 2, 3, 4]], "labels": [0], "scores": [1]}}, "category_id 0"),
        ("torchvision", {"b.jpg": [1]}, "image 0 is a list, expected boxes, labels and scores"),
        ("torchvision", [{"boxes": [], "labels": [], "scores": []}], "image_id None, expected the id"),
        ("fiftyone", samples_json(truth={"detections": [{**BOX, "confidence": None}]}), "have no confidence"),
        ("fiftyone", samples_json(a={"detections": [BOX]}, b={"detections": [BOX]}), "fields a, b hold predictions"),
        ("fiftyone", samples_json(a={"detections": [{**BOX, "bounding_box": [1, 2, 30, 4]}]}), "expected fractions"),
        ("fiftyone", samples_json(a={"detections": [BOX, {**BOX, "confidence": None}]}), "has no confidence"),
        ("fiftyone", {"classes": ["dog"], "labels": {"b": [{**BOX, "label": 1}]}}, "label 1, expected one of the 1"),
        ("fiftyone", {"samples": [{}]}, "a sample has no filepath"),
        ("label-studio", [{"data": {}}], "a task has no data.image"),
        ("yolo", "1 0.5 0.5 0.5 0.5", "has no confidence, .*: predict with save_txt=True save_conf=True"),
        ("yolo", "1 0.5 0.5 0.5 0.5 7", "confidence is 7, expected 0 to 1 .a track's number"),
        ("yolo", "1 20 10 9 9 0.5", "is not in fractions of the image"),
        ("yolo", "1 0.5 0.5 -0.5 0.5 0.5", "is not in fractions of the image"),
        ("yolo", "3 0.5 0.5 0.5 0.5 0.5", "class 3 is not one of the 3 of the data set, expected 0 to 2"),
        ("yolo", "1 0.1 0.1 0.2 0.2 0.3 0.3 0.4 0.4", "six numbers"),
        ("yolo", "1 0.5 0.5 nan 0.5 0.5", "is 'nan', expected a number"),
    ],
)
def test_mistakes_are_told_in_one_line(kind, document, message, tmp_path):
    if kind == "yolo":
        place = save(tmp_path / "b.txt", document).parent
    else:
        place = save(tmp_path / "found.json", document)
    with pytest.raises(UserError, match=message) as caught:
        read(kind, place)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_number_that_two_images_have_is_refused(tmp_path):
    twins = [Sample(path=f"/photos/{name}.jpg", labels=["dog"], size=(40, 30)) for name in ("12", "012")]
    place = save(tmp_path / "found.json", [{**ROW, "image_id": 12}])
    with pytest.raises(UserError, match="image_id 12, which is the number of '12' and of '012'"):
        read("coco", place, SampleSet(classes=("dog",), samples=twins))
    twins = [Sample(path=f"/photos/{name}/a.jpg", labels=["dog"], size=(40, 30)) for name in ("x", "y")]
    place = save(tmp_path / "found.json", [{**ROW, "image_id": "a"}])
    with pytest.raises(UserError, match=r"a fits /photos/x/a\.jpg and /photos/y/a\.jpg equally well"):
        read("coco", place, SampleSet(classes=("dog",), samples=twins))


def test_what_is_tolerated_is_counted(tmp_path):
    rows = [
        ROW,
        ROW,
        {**ROW, "score": 7},
        {**ROW, "image_id": "z"},
        {**ROW, "category_name": "Dogs"},
        {**ROW, "category_name": "zebra"},
        {**ROW, "category_name": "bus"},
        {**ROW, "bbox": [45, 10, 10, 5]},
    ]
    found, warnings = read("coco", save(tmp_path / "found.json", rows))
    assert len(found["b"].boxes) == 4
    assert warnings == {
        "images without a detection, half of the split or more: nothing found": 2,
        "detections in images outside the split: left out": 1,
        "detections of 'Dogs' (did you mean 'dog'?): left out": 1,
        "detections of classes that the data set does not have: left out": 2,
        "detections that are listed twice: kept, the second is a false positive": 1,
        "scores outside [0, 1]: only their order counts": 1,
        "boxes that reach outside their image: kept as they are": 1,
    }
    _, warnings = read("coco", save(tmp_path / "found.json", [ROW, {**ROW, "bbox": [5, 6, 7, 8]}]))
    assert warnings["detections that all have the same score, so that their order is undefined"] == 2


def test_corners_in_coco_s_format_are_told_where_few_boxes_leave_their_image(tmp_path):
    boxes = [[0, 0, 40, 20], [1, 1, 45, 18], [20, 5, 45, 15], [0, 5, 30, 20]]
    found, warnings = read("coco", save(tmp_path / "found.json", [{**ROW, "bbox": box} for box in boxes]))
    assert len(found["b"].boxes) == 4
    told = (
        "boxes that reach outside their image as [x, y, width, height] and fit it as [x0, y0, x1, y1]: kept as they are"
    )
    assert warnings[told] == 2


def test_sides_instead_of_corners_are_told_where_few_boxes_are_inverted(tmp_path):
    boxes = [[0, 0, 40, 20], [1, 1, 45, 18], [20, 5, 15, 15], [0, 5, 30, 15]]
    records = {"b.jpg": {"boxes": boxes, "labels": ["dog"] * 4, "scores": [0.5] * 4}}
    with pytest.raises(UserError, match=r"image 0, box 2: an inverted box .* were sides written"):
        read("torchvision", save(tmp_path / "outputs.json", records))


def test_localizations_with_scores_that_are_no_probabilities_are_counted(tmp_path):
    boxes = Boxes(xyxy=[[1, 1, 9, 9]], labels=["dog"], scores=[7])
    with LocalizationWriter(tmp_path) as writer:
        writer.write(Localization(path="/photos/b.jpg", size=(50, 20), scores={"dog": -1, "cat": 1}, boxes=boxes))
    _, warnings = read("localizations", tmp_path)
    assert warnings["scores outside [0, 1]: only their order counts"] == 2


def test_yolo_s_files_are_named_by_folders_and_image_in_ultralytics_validation(tmp_path):
    paths = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "a/b_c.jpg", "a_b/c.jpg")
    samples = SampleSet(classes=["dog"], samples=[Sample(path=f"/photos/{path}", size=(9, 9)) for path in paths])
    for name in ("cat_1", "dog_1", "2", "a_b_c"):
        save(tmp_path / f"{name}.txt", "0 0.5 0.5 0.5 0.5 0.5")
    split, warnings = Split(samples=samples, name="val"), Counter()
    found = [found for found, _ in READERS["yolo"].read(tmp_path, split, warnings) if len(found.boxes)]
    assert [one.path.relative_to("/photos").as_posix() for one in found] == ["cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]
    assert warnings["detections in images outside the split: left out"] == 1


def test_two_files_or_records_of_one_image_are_refused(tmp_path):
    for name in ("b.txt", "photos/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / name, "1 0.5 0.5 0.5 0.5 0.5")
    with pytest.raises(UserError, match=r"b\.txt and .*b\.txt both belong to the image 'b'"):
        read("yolo", tmp_path)
    (tmp_path / "csv").mkdir()
    FORMATS["csv"].write([Labelled(name="b.jpg", size=(9, 9), boxes=Boxes.empty())], tmp_path / "csv", ["dog"])
    with pytest.raises(UserError, match=r"b\.jpg is 9x9 pixels, annotated at 50x20"):
        read("csv", tmp_path / "csv")
    twice = [Labelled(name=name, size=(50, 20), boxes=Boxes.empty()) for name in ("b.jpg", "photos/b.jpg")]
    FORMATS["csv"].write(twice, tmp_path / "csv", ["dog"])
    with pytest.raises(UserError, match=r"b\.jpg and photos/b\.jpg are both the image 'b'"):
        read("csv", tmp_path / "csv")


KEYS = [
    *("image_id", "file_name", "category_id", "category_name", "bbox", "score", "boxes", "labels"),
    *("scores", "samples", "filepath", "detections", "label", "bounding_box", "confidence", "data"),
    *("image", "predictions", "annotations", "result", "type", "value", "rectanglelabels", "x", "y"),
    *("width", "height", "classes", "shapes", "points", "imagePath", "imageWidth", "imageHeight"),
    *("images", "categories", "id", "name", "original_width", "original_height", "meta"),
]
LEAVES = st.sampled_from(["b", "b.jpg", "dog", "rectanglelabels", "", None, True, 0, 1, -1, 2.5, 1e300, 10**400])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=24,
)


def deformed(document, path, value):
    """A document with another value somewhere below."""
    if not path or not isinstance(document, (dict, list)) or not document:
        return value
    keys = list(document) if isinstance(document, dict) else range(len(document))
    key = keys[path[0] % len(keys)]
    pairs = {k: deformed(document[k], path[1:], value) if k == key else document[k] for k in keys}
    return pairs if isinstance(document, dict) else list(pairs.values())


GOOD = {
    "coco": [ROW, {**ROW, "image_id": 12}],
    "torchvision": [{"file_name": "b.jpg", "boxes": [[1, 2, 3, 4]], "labels": [3], "scores": [0.5]}],
    "fiftyone": samples_json(predictions={"_cls": "Detections", "detections": [BOX]}),
    "label-studio": [
        {
            "data": {"image": "b.jpg"},
            "predictions": [
                {
                    "score": 0.5,
                    "result": [
                        {
                            "type": "rectanglelabels",
                            "original_width": 50,
                            "original_height": 20,
                            "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["dog"]},
                        }
                    ],
                }
            ],
        }
    ],
    "labelme": {
        "imagePath": "b.jpg",
        "imageWidth": 50,
        "imageHeight": 20,
        "shapes": [{"label": "dog", "points": [[1, 2], [3, 4]], "score": 0.5}],
    },
}


@pytest.mark.parametrize("kind", GOOD)
@given(path=st.lists(st.integers(0, 9), max_size=8), value=VALUES)
def test_any_json_is_predictions_or_a_user_s_mistake(kind, path, value, tmp_path_factory):
    place = save(tmp_path_factory.mktemp("any") / "found.json", deformed(GOOD[kind], path, value))
    try:
        found, _ = read(kind, place)
    except UserError:
        return
    assert set(found) == set(SIZES)


@pytest.mark.parametrize("kind", GOOD)
def test_the_documents_that_are_deformed_are_good(kind, tmp_path):
    found, _ = read(kind, save(tmp_path / "found.json", GOOD[kind]))
    assert found["b"].boxes.labels


@given(text=st.text(st.sampled_from("01 .-e5\n\tn"), max_size=40))
def test_any_text_is_yolo_or_a_user_s_mistake(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    save(folder / "b.txt", text)
    try:
        found, _ = read("yolo", folder)
    except UserError:
        return
    assert set(found) == set(SIZES)


@given(rows=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4, st.floats(0, 1, width=32)), max_size=4))
def test_yolo_s_fractions_are_pixels_of_the_image(rows, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    save(folder / "b.txt", "\n".join("1 " + " ".join(f"{value:.9g}" for value in row) for row in rows))
    found, _ = read("yolo", folder)
    x, y, width, height, score = np.array(rows).reshape(-1, 5).T
    expected = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1) * [50, 20, 50, 20]
    np.testing.assert_allclose(found["b"].boxes.xyxy, expected, atol=1e-3)
    np.testing.assert_allclose(found["b"].boxes.scores, score, rtol=1e-6)
