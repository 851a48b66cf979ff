"""What annotation tools export: tags as weak labels, boxes as ground truth."""

import json

import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_samples
from wsl.errors import UserError


def read(data, split="all", **settings):
    return read_samples(DataConfig(data=data, **settings), split)


def labels(samples):
    return {sample.id: sample.labels for sample in samples.samples}


def task(name, *results, **more):
    return {"data": {"image": f"/data/local-files/?d={name}"}, "annotations": [{"result": list(results), **more}]}


def choice(*names):
    return {"type": "choices", "from_name": "choice", "to_name": "image", "value": {"choices": list(names)}}


RECTANGLE = {
    "type": "rectanglelabels",
    "original_width": 40,
    "original_height": 20,
    "value": {"x": 25, "y": 0, "width": 50, "height": 50, "rectanglelabels": ["eel"]},
}


def test_label_studio_s_choices(write, picture, tmp_path):
    tasks = [task("a.png", choice("dog", "cat")), task("b.png"), task("c.png", choice("dog"), was_cancelled=True)]
    file = write("tasks.json", json.dumps(tasks))
    for name in ("a.png", "b.png", "c.png"):
        picture(f"images/{name}")
    assert detect_format(file) == detect_format(tmp_path) == "label-studio"
    samples = read(file)
    assert samples.classes == ("cat", "dog")
    assert labels(samples) == {"a.png": ("cat", "dog"), "b.png": ()}
    assert {sample.boxes for sample in samples.samples} == {None}
    with pytest.raises(UserError, match="has no split 'test'; it has: all"):
        read(file, "test")


def test_label_studio_s_rectangles_are_ground_truth(write, picture, tmp_path):
    write("tasks.json", json.dumps([task("a.png", choice("dog"), RECTANGLE), task("b.png", choice("dog"))]))
    picture("elsewhere/a.png")
    picture("elsewhere/b.png")
    first, second = read(tmp_path, image_root=tmp_path / "elsewhere").samples
    assert (first.labels, first.boxes.xyxy.tolist()) == (("dog", "eel"), [[10, 0, 30, 10]])
    assert len(second.boxes) == 0


def test_cvat_s_tags_and_subsets(write, picture, tmp_path):
    box = '<box label="cat" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    images = "".join(
        f'<image id="0" name="{name}" subset="{split}" width="40" height="20">{inner}</image>'
        for name, split, inner in (
            ("a.png", "train", f'<tag label="dog"/>{box}'),
            ("b.png", "val", '<tag label="eel"/>'),
        )
    )
    write("annotations.xml", f"<annotations>{images}</annotations>")
    picture("images/a.png")
    picture("images/b.png")
    assert detect_format(tmp_path) == "cvat"
    train, val = read(tmp_path, "train"), read(tmp_path, "val")
    assert train.classes == val.classes == ("cat", "dog", "eel")
    assert labels(train) == {"a.png": ("cat", "dog")}
    assert labels(val) == {"b.png": ("eel",)}


def test_fiftyone_s_classifications_and_detections(write, picture, tmp_path):
    dog = {"_cls": "Classification", "label": "dog"}
    guess = {"_cls": "Classification", "label": "cow", "confidence": 0.5}
    detections = [{"_cls": "Detection", "label": "cat", "bounding_box": [0.25, 0, 0.5, 1]}]
    samples = [
        {"filepath": "data/a.png", "tags": ["train"], "ground_truth": dog, "model": guess},
        {
            "filepath": "/old/b.png",
            "tags": [],
            "boxes": {"_cls": "Detections", "detections": detections},
            "model": guess,
        },
    ]
    write("samples.json", json.dumps({"samples": samples}))
    picture("data/a.png")
    picture("data/b.png")
    assert detect_format(tmp_path) == "fiftyone"
    found = read(tmp_path)
    assert labels(found) == {"data/a.png": ("dog",), "data/b.png": ("cat",)}
    assert found.samples[1].boxes.xyxy.tolist() == [[10, 0, 30, 20]]
    assert labels(read(tmp_path, "train")) == {"data/a.png": ("dog",)}


@pytest.mark.parametrize("path", ["C:/secret.png", "C:secret.png"])
def test_fiftyone_s_images_are_measured_inside_the_export_only(write, tmp_path, path):
    """Where a path with a drive is absolute, as on Windows, joining it to the folder would leave the folder."""
    box = {"_cls": "Detection", "label": "cat", "bounding_box": [0, 0, 1, 1]}
    write("samples.json", json.dumps({"samples": [{"filepath": path, "ground_truth": box}]}))
    with pytest.raises(UserError, match=r"names 'C:.*', which is not inside"):
        read(tmp_path)


def test_no_export_names_images_outside_its_folder(write, picture, tmp_path):
    secret = picture("secret.png")
    image = '<image id="0" name="{}" width="40" height="20"><tag label="dog"/></image>'
    for name in ("../secret.png", secret.as_posix(), f"/{secret.as_posix()}"):
        write("export/annotations.xml", f"<annotations>{image.format(name)}</annotations>")
        with pytest.raises(UserError, match="leads out of its folder"):
            read(tmp_path / "export")


@pytest.mark.parametrize("value", [1, [1], "dog", {"label": "dog"}])
def test_fiftyone_s_lists_of_labels(write, picture, tmp_path, value):
    write("labels.json", json.dumps({"classes": ["cat", "dog"], "labels": {"a": value}}))
    picture("data/a.png")
    assert labels(read(tmp_path, format="fiftyone")) == {"data/a.png": ("dog",)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"labels": {"a": 7}, "classes": ["cat"]}, "the label 7, expected one of the 1 classes"),
        ({"labels": {"lost": 0}, "classes": ["cat"]}, "no image for 'lost' in data/"),
        ({"labels": {"a": [{"label": "cat", "bounding_box": [0, 0, 9, 9]}]}}, "expected fractions of the image"),
        ({"labels": {"a": [{"label": None, "bounding_box": [0, 0, 1, 1]}]}}, "expected the name of a class"),
        ({"labels": {"a": None}}, "no image has a tag or a box"),
        ({"other": 1}, "has neither samples nor labels"),
        ({"samples": [{}]}, "a sample has no filepath"),
    ],
)
def test_fiftyone_s_file_of_another_form(write, picture, tmp_path, document, message):
    write("labels.json", json.dumps(document))
    picture("data/a.png")
    with pytest.raises(UserError, match=message):
        read(tmp_path, format="fiftyone")


@pytest.mark.parametrize("form", ["images/{split}", "{split}/images"])
def test_yolo_s_splits(write, picture, tmp_path, form):
    """Ultralytics' folders, and Roboflow's."""
    write("data.yaml", "names: [cat, dog]")
    for split, line in (("train", "0 0.5 0.5 0.5 0.5"), ("valid", "1 0.5 0.5 1 1")):
        folder = form.format(split=split)
        picture(f"{folder}/{split}.png")
        write(f"{folder.replace('images', 'labels')}/{split}.txt", line)
    assert detect_format(tmp_path) == "yolo"
    train, val = read(tmp_path, "train"), read(tmp_path, "val")
    assert [(sample.path.name, sample.labels) for sample in train.samples] == [("train.png", ("cat",))]
    assert [(sample.path.name, sample.labels) for sample in val.samples] == [("valid.png", ("dog",))]
    assert val.samples[0].boxes.xyxy.tolist() == [[0, 0, 40, 20]]
    assert train.classes == ("cat", "dog")


def test_labelme(write, picture, tmp_path):
    shape = {"label": "dog", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}
    write("a.json", json.dumps({"imagePath": "a.png", "imageWidth": 40, "imageHeight": 20, "shapes": [shape]}))
    picture("a.png")
    assert detect_format(tmp_path) == "labelme"
    assert read(tmp_path).samples[0].boxes.xyxy.tolist() == [[1, 2, 3, 4]]


def test_an_image_that_is_missing(write, tmp_path):
    file = write("tasks.json", json.dumps([task("a.png", RECTANGLE)]))
    with pytest.raises(UserError, match=r"a\.png: no such image; 1 of the 1 .* give their folder as --image-root"):
        read(file)


def test_a_table_of_boxes_that_a_spreadsheet_wrote(write, picture, tmp_path):
    picture("images/a.png")
    rows = [["image", "width", "height", "label", "score", "x0", "y0", "x1", "y1"]]
    rows += [["a.png", "40", "20", "dog, black", "0,5", "1,25", "2", "3", "4,5"], ["a.png", "40", "20", "", *[""] * 5]]
    for delimiter in ";\t":
        file = write("boxes.csv", "\n".join(map(delimiter.join, rows)))
        assert detect_format(file) == "boxes-csv"
        (sample,) = read(file).samples
        assert sample.labels == ("dog, black",)
        assert sample.boxes.xyxy.tolist() == [[1.25, 2, 3, 4.5]]
    write("boxes.csv", 'image,width,height,label,score,x0,y0,x1,y1\na.png,40,20,dog,1,"1,25",2,3,4\n')
    with pytest.raises(UserError, match=r"x0 of a\.png is '1,25', expected a number"):
        read(file)


@pytest.mark.parametrize("name", ["boxes.csv", "mine.csv"])
def test_a_table_of_boxes_is_no_table_of_labels(name, write, picture, tmp_path):
    header = "image,width,height,label,score,x0,y0,x1,y1\n"
    file = write(name, f"{header}a.png,40,20,dog,0.5,1,2,3,4\na.png,40,20,cat,,0,0,9,9\nb.png,40,20,,,,,,\n")
    picture("images/a.png")
    picture("images/b.png")
    assert detect_format(file) == "boxes-csv"
    samples = read(tmp_path if name == "boxes.csv" else file)
    assert labels(samples) == {"a.png": ("cat", "dog"), "b.png": ()}
    assert samples.samples[0].boxes.xyxy.tolist() == [[1, 2, 3, 4], [0, 0, 9, 9]]
    assert len(samples.samples[1].boxes) == 0
