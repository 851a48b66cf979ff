"""What annotation tools write in other ways than their formats' examples: read as it is meant, or refused."""

import json

import numpy as np
import pytest
from PIL import Image

from wsl.errors import UserError
from wsl.formats.exchange import FORMATS
from wsl.images import image_size


def read(name, path):
    return {image.name: image for image in FORMATS[name].read(path, image_size)}


def coco(**annotation):
    record = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **annotation}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 8}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [record],
    }


@pytest.mark.parametrize(("mark", "boxes"), [("0", 1), (0, 1), (False, 1), (None, 1), ("1", 0), (1, 0), (True, 0)])
def test_a_crowd_is_one_however_it_is_written(mark, boxes, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(coco(iscrowd=mark)), encoding="utf-8")
    assert len(read("coco", tmp_path / "a.json")["a.jpg"].boxes) == boxes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iscrowd": "maybe"}, "iscrowd is 'maybe', expected 0 or 1"),
        ({"bbox": [1, 2, -3, 4]}, "sides that are not negative"),
        ({"bbox": "1 2 3 4"}, "bbox is '1 2 3 4'"),
        ({"image_id": [1]}, r"names image \[1\]"),
        ({"category_id": {}}, r"and category \{\}"),
    ],
)
def test_an_annotation_that_cannot_be_is_named_with_its_file(change, message, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(coco(**change)), encoding="utf-8")
    with pytest.raises(UserError, match=rf"a\.json: annotation 1.*{message}"):
        read("coco", tmp_path / "a.json")


def voc(tmp_path, mark="0", box=(1, 1, 4, 4), root="annotation", size=(8, 8)):
    edges = "".join(f"<{edge}>{at}</{edge}>" for edge, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    thing = f"<object><name>dog</name><difficult>{mark}</difficult><bndbox>{edges}</bndbox></object>"
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (tmp_path / "a.xml").write_text(f"<{root}>{sides}{thing}</{root}>", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("mark", "hard"), [("Unspecified", False), ("", False), ("1", True), ("true", True)])
def test_difficult_is_read_however_it_is_written(mark, hard, tmp_path):
    assert read("voc", voc(tmp_path, mark))["a.jpg"].boxes.difficult.tolist() == [hard]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mark": "perhaps"}, "difficult of dog is 'perhaps'"),
        ({"box": (5, 1, 2, 4)}, "is inverted"),
        ({"root": "annotations"}, "its root is <annotations>, expected <annotation>"),
        ({"size": (65536, 65536)}, "65536 x 65536 pixels by what is stated"),
        ({"size": (8, 0.5)}, "height is '0.5', expected a positive whole number"),
    ],
)
def test_voc_that_cannot_be_is_named_with_its_file(options, message, tmp_path):
    with pytest.raises(UserError, match=rf"a\.xml: .*{message}"):
        read("voc", voc(tmp_path, **options))


def cvat(tmp_path, **attributes):
    given = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    image = f'<image name="a.jpg" width="100" height="100"><box label="dog" {given}/></image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{image}</annotations>", encoding="utf-8")
    return tmp_path


def test_a_rotated_box_counts_by_its_bounds(tmp_path):
    box = {"xtl": 30, "ytl": 45, "xbr": 70, "ybr": 55}
    turned = read("cvat", cvat(tmp_path, **box, rotation="90.00"))["a.jpg"]
    assert np.allclose(turned.boxes.xyxy, [[45, 30, 55, 70]])
    diagonal = read("cvat", cvat(tmp_path, **box, rotation="45"))["a.jpg"].boxes.xyxy[0]
    reach = (20 + 5) / 2**0.5
    assert np.allclose(diagonal, [50 - reach, 50 - reach, 50 + reach, 50 + reach])


def rectangle(label="dog", **changes):
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": [label]}
    result = {"type": "rectanglelabels", "original_width": 100, "original_height": 50, "value": value}
    return {**result, **changes, "value": {**value, **changes.get("value", {})}}


def task(name, *annotations, **fields):
    return {"data": {"image": f"/data/local-files/?d={name}"}, "annotations": list(annotations), **fields}


def tasks(tmp_path, *records):
    (tmp_path / "tasks.json").write_text(json.dumps(records), encoding="utf-8")
    return tmp_path / "tasks.json"


def test_label_studio_annotations_that_were_cancelled_are_nobodys(tmp_path, caplog):
    kept, cancelled = {"was_cancelled": False}, {"was_cancelled": True}
    file = tasks(
        tmp_path,
        task("good.jpg", {**kept, "result": [rectangle()]}, {**cancelled, "result": [rectangle("cat")]}),
        task("skipped.jpg", {**cancelled, "result": [rectangle("cat")]}, meta={"width": 100, "height": 50}),
        task("empty.jpg", {**kept, "result": []}, meta={"width": 100, "height": 50}),
    )
    found = read("label-studio", file)
    assert {name: image.boxes.labels for name, image in found.items()} == {"good.jpg": ("dog",), "empty.jpg": ()}
    assert "1 tasks without annotations or of unknown size left out, skipped.jpg first" in caplog.text


def test_label_studio_tasks_without_boxes_take_their_size_from_the_image(tmp_path, caplog):
    Image.new("RGB", (7, 5)).save(tmp_path / "there.jpg")
    file = tasks(tmp_path, task("there.jpg", {"result": []}), task("lost.jpg", {"result": []}))
    assert {name: image.size for name, image in read("label-studio", file).items()} == {"there.jpg": (7, 5)}
    assert "lost.jpg first" in caplog.text


def test_label_studio_rectangles_whose_labels_stand_apart(tmp_path):
    bare = rectangle()
    del bare["value"]["rectanglelabels"]
    apart = [{**bare, "type": "rectangle", "id": "7"}, {"type": "labels", "id": "7", "value": {"labels": ["cat"]}}]
    found = read("label-studio", tasks(tmp_path, task("a.jpg", {"result": apart})))
    assert found["a.jpg"].boxes.labels == ("cat",)


def test_label_studio_rectangles_turn_about_their_first_corner(tmp_path):
    found = read("label-studio", tasks(tmp_path, task("a.jpg", {"result": [rectangle(value={"rotation": 90})]})))
    assert np.allclose(found["a.jpg"].boxes.xyxy, [[0, 5, 10, 25]])  # 20 x 10 pixels from (10, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": {"width": -5}}, "expected percents of the image"),
        ({"value": {"x": 640}}, "expected percents of the image"),
        ({"image_rotation": 90}, "was rotated for annotation"),
        ({"value": {"rectanglelabels": None}}, "no value with rectanglelabels"),
    ],
)
def test_label_studio_rectangles_that_cannot_be_are_named(change, message, tmp_path):
    with pytest.raises(UserError, match=rf"tasks\.json: .*{message}"):
        read("label-studio", tasks(tmp_path, task("a.jpg", {"result": [rectangle(**change)]})))


@pytest.mark.parametrize(
    ("kind", "points", "box"),
    [
        ("circle", [[50, 50], [50, 80]], [20, 20, 80, 80]),
        ("polygon", [[5, 9], [7, 3], [1, 4]], [1, 3, 7, 9]),
        ("mask", [[2, 3], [5, 7]], [2, 3, 6, 8]),
        ("rectangle", [[9, 8], [1, 2]], [1, 2, 9, 8]),
    ],
)
def test_labelme_shapes_count_by_their_bounds_and_points_are_left_out(kind, points, box, tmp_path):
    shapes = [
        {"label": "dog", "points": points, "shape_type": kind},
        {"label": "nose", "points": [[5, 5]], "shape_type": "point"},
    ]
    document = {"shapes": shapes, "imagePath": "a.jpg", "imageWidth": 100, "imageHeight": 100}
    (tmp_path / "a.json").write_text(json.dumps(document), encoding="utf-8")
    boxes = read("labelme", tmp_path)["a.jpg"].boxes
    assert (boxes.labels, boxes.xyxy.tolist()) == (("dog",), [box])


def yolo(tmp_path, line="0 0.5 0.5 1 1", suffix=".png", names="[dog]"):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "images" / f"a{suffix}", format="PNG")
    (tmp_path / "labels" / "a.txt").write_text(line, encoding="utf-8")
    (tmp_path / "data.yaml").write_text(f"names: {names}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("suffix", [".avif", ".gif", ".jfif", ".JPG", ".webp"])
def test_yolo_reads_images_of_every_suffix(suffix, tmp_path):
    assert read("yolo", yolo(tmp_path, suffix=suffix))[f"a{suffix}"].boxes.xyxy.tolist() == [[0, 0, 8, 4]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"line": "0 50 25 20 20"}, r"a\.txt:1: the box 50 25 20 20 is not in fractions"),
        ({"line": "0 0.5 0.5 -0.2 0.4"}, r"a\.txt:1: the box"),
        ({"line": "9" * 5000 + " 0 0 0 0"}, r"a\.txt:1: '999"),
        ({"names": "[yes, no]"}, r"data\.yaml: the name of class 0 is True, expected a text: put it in quotes"),
        ({"names": "[[a]]"}, r"data\.yaml: the name of class 0 is \['a'\]"),
    ],
)
def test_yolo_that_cannot_be_is_named_with_its_file(options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read("yolo", yolo(tmp_path, **options))


def test_a_row_of_a_table_that_cannot_be_is_named_with_its_image(tmp_path):
    header = "image,width,height,label,score,x0,y0,x1,y1\n"
    (tmp_path / "boxes.csv").write_text(f"{header}a.jpg,8,8,dog,1,5,1,2,4\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"boxes\.csv: a\.jpg: box .* is inverted"):
        read("csv", tmp_path / "boxes.csv")
