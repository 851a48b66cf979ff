"""Boxes in other tools' formats: there and back, names of every kind, and the tools' own libraries as readers."""

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.mask import area

from wsl.boxes import Boxes
from wsl.data import read_coco, read_voc
from wsl.errors import UserError
from wsl.formats.exchange import FORMATS
from wsl.formats.exchange.coco import FORMER, INSTANCES
from wsl.formats.exchange.labelled import Labelled
from wsl.images import image_size

READABLE = [name for name, known in FORMATS.items() if known.read]
NAMES = [
    "plain.jpg",
    "with space.jpg",
    'quote\'s "and" &amp; <tag>.jpg',
    "deep/er/猫と犬.png",
    "émile.é.jpeg",
    "percent%20.png",
]
UNIT = st.floats(0, 1, width=32)
CLASSES = ["dog", "traffic light", "猫", 'it\'s <a> "b" & c', "yes", "null", "1"]


def labelled(name="a.jpg", size=(40, 30), boxes=(((1, 2, 11, 22), "dog", 0.75),)):
    return Labelled(
        name=name,
        size=size,
        boxes=Boxes(
            xyxy=np.array([xyxy for xyxy, _, _ in boxes], np.float32).reshape(-1, 4),
            labels=tuple(label for _, label, _ in boxes),
            scores=np.array([score for _, _, score in boxes], np.float32),
        ),
    )


def write(name, images, folder, classes=CLASSES, **options):
    """Write boxes, and grey images where the format's tools look for them."""
    out = FORMATS[name].write(iter(images), folder, classes, **options)
    for image in images:
        place = folder / (FORMATS[name].images or "images") / image.name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", image.size).save(place)
    return out


def read(name, folder, out):
    source = folder if name in ("yolo", "voc", "labelme") else out
    return list(FORMATS[name].read(source, image_size))


def as_rows(image, digits=3):
    boxes = image.boxes
    rows = zip(boxes.labels, boxes.xyxy.round(digits).tolist(), strict=True)
    return image.name, image.size, sorted((label, tuple(xyxy)) for label, xyxy in rows)


@pytest.mark.parametrize("name", READABLE)
def test_what_is_written_is_read_back(name, tmp_path):
    images = [
        labelled("a.jpg", boxes=[((1, 2, 11, 22), "dog", 0.75), ((0, 0, 40, 30), "yes", 0.5)]),
        labelled("b/c.png", size=(7, 90), boxes=[((6, 89, 7, 90), "猫", 0.25)]),
        labelled("empty.jpg", boxes=[]),
    ]
    out = write(name, images, tmp_path)
    assert sorted(map(as_rows, read(name, tmp_path, out))) == sorted(map(as_rows, images))


@pytest.mark.parametrize("name", [*READABLE])
def test_scores_come_back_when_asked_for(name, tmp_path):
    out = write(name, [labelled()], tmp_path, scores=True)
    assert read(name, tmp_path, out)[0].boxes.scores.tolist() == [0.75]
    out = write(name, [labelled()], tmp_path, scores=False)
    assert read(name, tmp_path, out)[0].boxes.scores.tolist() == [1.0]


@pytest.mark.parametrize("name", READABLE)
def test_names_of_every_kind_survive(name, tmp_path):
    boxes = [((i, 2, 11 + i, 22), label, 1.0) for i, label in enumerate(CLASSES)]
    images = [labelled(image, boxes=boxes) for image in NAMES]
    out = write(name, images, tmp_path)
    assert sorted(map(as_rows, read(name, tmp_path, out))) == sorted(map(as_rows, images))


@pytest.mark.parametrize("name", READABLE)
@given(
    rows=st.lists(st.tuples(st.tuples(*[UNIT] * 4), st.sampled_from(CLASSES), UNIT), max_size=4),
    size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
)
def test_any_box_is_read_back_within_its_format_s_digits(name, rows, size, tmp_path_factory):
    boxes = []
    for (x0, y0, x1, y1), label, score in rows:
        edges = (min(x0, x1) * size[0], min(y0, y1) * size[1], max(x0, x1) * size[0], max(y0, y1) * size[1])
        boxes.append((edges, label, score))
    image = labelled("a.png", size, boxes)
    folder = tmp_path_factory.mktemp("any")
    out = FORMATS[name].write(iter([image]), folder, CLASSES, scores=True)
    sizes = lambda path: size  # noqa: E731
    if name == "yolo":
        (folder / "images").mkdir()
        (folder / "images" / "a.png").touch()
    source = folder if name in ("yolo", "voc", "labelme") else out
    (found,) = FORMATS[name].read(source, sizes)
    assert found.boxes.labels == image.boxes.labels
    np.testing.assert_allclose(found.boxes.scores, image.boxes.scores, rtol=1e-6)
    # VOC holds whole pixels, at least one a box; the others what float32 and nine digits leave.
    np.testing.assert_allclose(found.boxes.xyxy, image.boxes.xyxy, atol=1.5 if name == "voc" else 2e-3)


@pytest.mark.parametrize("name", FORMATS)
def test_a_class_that_is_not_listed_is_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg: class 'dog' is not among those to export, expected some of: cat"):
        FORMATS[name].write(iter([labelled()]), tmp_path, ["cat"])


@pytest.mark.parametrize("name", ["voc", "yolo", "labelme"])
def test_two_images_that_would_share_a_file_are_refused(name, tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg and A\.png would both become A\..*: rename one"):
        FORMATS[name].write(iter([labelled("a.jpg"), labelled("A.png")]), tmp_path, CLASSES)


@pytest.mark.parametrize("name", ["voc", "cvat", "label-studio"])
def test_what_xml_cannot_write_is_refused(name, tmp_path):
    with pytest.raises(UserError, match="has a character that XML cannot represent"):
        FORMATS[name].write(iter([labelled(boxes=[])]), tmp_path, ["bell\a"]) if name != "voc" else FORMATS[name].write(
            iter([labelled(boxes=[((0, 0, 1, 1), "bell\a", 1)])]), tmp_path, ["bell\a"]
        )


# VOC and LabelMe have a file an image: each is whole, whatever follows.
@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("voc", "labelme")])
def test_an_error_in_the_middle_leaves_the_old_file(name, tmp_path):
    out = write(name, [labelled()], tmp_path)
    before = out.read_bytes()

    def broken():
        yield labelled(boxes=[])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FORMATS[name].write(broken(), tmp_path, CLASSES)
    assert out.read_bytes() == before
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    "name",
    ["../a.jpg", "/etc/passwd", "//etc/passwd", "\\\\host\\a.jpg", "a/../../b.jpg", "C:\\a.jpg", "..\\a.jpg", ""],
)
def test_names_that_lead_out_of_the_folder_are_refused(name):
    with pytest.raises(UserError, match="leads out of its folder"):
        labelled(name)


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        ("coco", "a.json", "[1", "not JSON"),
        ("coco", "a.json", "{}", "has no list of images"),
        ("coco", "a.json", '{"images": [{"id": 1}], "categories": [], "annotations": []}', "has no id or no file_name"),
        ("label-studio", "a.json", "{}", "not a list of tasks"),
        ("label-studio", "a.json", '[{"data": {}}]', "a task has no data.image"),
        ("cvat", "a.xml", "<a", "not well-formed XML"),
        ("cvat", "a.xml", "<a/>", "its root is <a>"),
        ("cvat", "a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "refused, it declares XML entities"),
        (
            "cvat",
            "a.xml",
            '<annotations><image name="a.jpg" width="4" height="x"/></annotations>',
            "a.jpg: height is 'x'",
        ),
        ("csv", "a.csv", "image,width\na,1\n", "has no column 'height'"),
        (
            "labelme",
            "a.json",
            '{"shapes": [{"label": "dog"}], "imageWidth": 4, "imageHeight": 4}',
            "fewer than two points",
        ),
        ("yolo", "data.yaml", "names: 3", "has no names of classes"),
        ("yolo", "data.yaml", "names: [", "not YAML"),
    ],
)
def test_what_strangers_write_is_parsed_defensively(name, file, text, message, tmp_path):
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        list(FORMATS[name].read(tmp_path / file, image_size))


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 0.5", "dog 0.5 0.5 0.5 0.5", "7 0.5 0.5 0.5 0.5", "0 nan 0.5 0.5 0.5", "-1 0 0 0 0"]
)
def test_a_malformed_line_of_yolo_names_its_place(line, tmp_path):
    write("yolo", [labelled()], tmp_path)
    (tmp_path / "labels" / "a.txt").write_text(f"\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.txt:2"):
        read("yolo", tmp_path, None)


@pytest.mark.parametrize("name", READABLE)
def test_a_file_that_is_missing_is_named(name, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        list(FORMATS[name].read(tmp_path / "nowhere", image_size))


def test_pycocotools_reads_annotations_and_results(tmp_path):
    images = [labelled("b.jpg"), labelled("a.jpg", boxes=[]), labelled("c.jpg", boxes=[((0, 0, 9, 9), "猫", 0.5)])]
    with contextlib.redirect_stdout(None):
        truth = COCO(write("coco", images, tmp_path))
        results = write("coco-results", images, tmp_path / "results", reference=tmp_path / INSTANCES)
        found = truth.loadRes(str(results))
    assert [truth.loadCats(a["category_id"])[0]["name"] for a in truth.anns.values()] == ["dog", "猫"]
    assert [truth.loadImgs(a["image_id"])[0]["file_name"] for a in found.anns.values()] == ["b.jpg", "c.jpg"]
    assert [a["bbox"] for a in found.anns.values()] == [[1, 2, 10, 20], [0, 0, 9, 9]]
    assert area(truth.annToRLE(truth.anns[1])) == 200


def test_results_take_their_numbers_from_the_reference(tmp_path):
    document = {
        "images": [{"id": 77, "file_name": "val/a.jpg"}, {"id": "x", "file_name": "b.jpg"}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(document), encoding="utf-8")
    options = {"reference": tmp_path / "truth.json"}
    path = FORMATS["coco-results"].write([labelled("a.jpg"), labelled("b.jpg")], tmp_path, CLASSES, **options)
    results = json.loads(path.read_text(encoding="utf-8"))
    assert [(result["image_id"], result["category_id"]) for result in results] == [(77, 18), ("x", 18)]
    with pytest.raises(UserError, match=r"lists no image 'c\.jpg'"):
        FORMATS["coco-results"].write([labelled("c.jpg")], tmp_path, CLASSES, **options)


def test_torchvision_and_our_own_reader_read_voc(tmp_path):
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    write("voc", [labelled("a b.jpg"), labelled("c.jpg", boxes=[])], folder)
    (folder / "ImageSets" / "Main" / "val.txt").write_bytes((folder / "ImageSets" / "Main" / "all.txt").read_bytes())
    loaded = torchvision.datasets.VOCDetection(tmp_path, year="2012", image_set="val")
    annotation = loaded[0][1]["annotation"]
    assert annotation["filename"] == "a b.jpg"
    assert annotation["object"][0]["bndbox"] == {"xmin": "2", "ymin": "3", "xmax": "11", "ymax": "22"}
    assert len(loaded) == 2
    samples = read_voc(folder, "val").samples
    assert samples[0].boxes.xyxy.tolist() == [[1, 2, 11, 22]]
    assert samples[0].size == (40, 30)


def test_our_own_reader_reads_coco(tmp_path):
    write("coco", [labelled("deep/a.jpg")], tmp_path)
    for source, split in ((tmp_path / INSTANCES, "all"), (tmp_path, "all"), (tmp_path, None)):
        (sample,) = read_coco(source, split).samples
        assert sample.path == tmp_path / "images" / "deep" / "a.jpg"
        assert sample.boxes.xyxy.tolist() == [[1, 2, 11, 22]]


@pytest.mark.parametrize("place", [INSTANCES, FORMER, "annotations/instances_val.json", "instances_mine.json"])
def test_a_folder_of_coco_is_read_wherever_its_annotations_lie(place, tmp_path):
    out = write("coco", [labelled()], tmp_path)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    out.rename(tmp_path / place)
    assert [as_rows(image) for image in read("coco", tmp_path, tmp_path)] == [as_rows(labelled())]


def test_a_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no annotations; expected annotations/instances_all\.json"):
        read("coco", tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_images_keep_their_splits(name, tmp_path):
    images = [replace(labelled(f"{i}.jpg"), split=split) for i, split in enumerate(["train", "valid", "train", "test"])]
    write(name, images, tmp_path)
    found = {image.name: (image.split, as_rows(image)[1:]) for image in read(name, tmp_path, tmp_path)}
    expected = zip(images, ["train", "val", "train", "test"], strict=True)
    assert found == {image.name: (split, as_rows(image)[1:]) for image, split in expected}
    assert not [file for file in tmp_path.rglob("*") if file.stem in ("all", "instances_all")]


def test_images_and_boxes_of_two_splits_have_different_numbers(tmp_path):
    write("coco", [replace(labelled(f"{split}.jpg"), split=split) for split in ("train", "val", "test")], tmp_path)
    documents = [json.loads(file.read_text("utf-8")) for file in sorted((tmp_path / "annotations").iterdir())]
    for kind in ("images", "annotations"):
        assert sorted(record["id"] for one in documents for record in one[kind]) == [1, 2, 3]


def test_coco_images_lie_in_the_folders_of_their_splits(tmp_path):
    """As COCO's own do, and Roboflow's, whose annotations lie there too."""
    for place, file in (("coco", "annotations/instances_{}2017.json"), ("roboflow", "{}/_annotations.coco.json")):
        for split in ("train", "val"):
            out = write("coco", [labelled("a.jpg")], tmp_path / "one")
            folder = tmp_path / place / (f"{split}2017" if place == "coco" else split)
            folder.mkdir(parents=True)
            (folder / "a.jpg").touch()
            target = tmp_path / place / file.format(split)
            target.parent.mkdir(exist_ok=True)
            out.rename(target)
        found = [(image.name, image.split) for image in read("coco", tmp_path / place, tmp_path / place)]
        year = "2017" if place == "coco" else ""
        assert found == [(f"train{year}/a.jpg", "train"), (f"val{year}/a.jpg", "val")]


def test_the_shortest_list_of_voc_says_the_split(tmp_path):
    write("voc", [labelled("a.jpg"), labelled("b.jpg"), labelled("c.jpg")], tmp_path)
    lists = {"train": "a", "val": "b", "trainval": "a\nb", "dog_train": "a 1\nb -1", "dogs": "c"}
    for name, text in lists.items():
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")
    assert [image.split for image in read("voc", tmp_path, tmp_path)] == ["train", "val", None]


def test_voc_names_its_classes_where_lines_can_hold_them(tmp_path):
    write("voc", [labelled()], tmp_path / "a", ["dog", "traffic light"])
    assert (tmp_path / "a" / "labelmap.txt").read_text(encoding="utf-8") == "background:::\ndog:::\ntraffic light:::\n"
    for name in ("a:b", "#1", " blank"):
        write("voc", [labelled()], tmp_path / "b", ["dog", name])
        assert not (tmp_path / "b" / "labelmap.txt").exists()


def test_yolo_s_figures_have_no_exponent(tmp_path):
    write("yolo", [labelled(size=(40000, 40), boxes=[((0, 0, 1, 20), "dog", 1)])], tmp_path)
    line = (tmp_path / "labels" / "a.txt").read_text(encoding="utf-8").split()
    assert all(figure.replace(".", "").isdigit() for figure in line)
    assert [float(figure) for figure in line[1:]] == pytest.approx([0.5 / 40000, 0.25, 1 / 40000, 0.5])


def test_voc_rounds_to_pixels_that_are_in_the_image(tmp_path):
    boxes = [((0.4, 0.6, 0.5, 0.7), "dog", 1), ((39.9, 29.9, 40, 30), "dog", 1), ((1.5, 2.5, 3.4, 4.6), "dog", 1)]
    out = write("voc", [labelled(boxes=boxes)], tmp_path)
    (found,) = read("voc", tmp_path, out)
    assert found.boxes.xyxy.tolist() == [[0, 1, 1, 2], [39, 29, 40, 30], [2, 2, 3, 5]]
    assert not math.isnan(found.boxes.xyxy.sum())


def test_an_image_twice_in_a_csv_is_refused(tmp_path):
    out = write("csv", [labelled("a.jpg"), labelled("b.jpg"), labelled("a.jpg")], Path(tmp_path))
    with pytest.raises(UserError, match=r"the rows of a\.jpg are not consecutive"):
        read("csv", tmp_path, out)


XML = """<annotation><filename>{filename}</filename><size><width>8</width><height>6</height></size><object>
<name>dog</name><difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax>
</bndbox></object></annotation>"""


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("%s", "new.jpg"),
        ("old.jpg", "new.jpg"),
        ("C:\\photos\\old.PNG", "new.PNG"),
        ("", "new.jpg"),
        ("x.1", "new.jpg"),
    ],
)
def test_an_image_of_voc_has_the_name_of_its_annotation(tmp_path, filename, name):
    (tmp_path / "new.xml").write_text(XML.format(filename=filename, difficult=0), encoding="utf-8")
    assert [image.name for image in FORMATS["voc"].read(tmp_path, None)] == [name]


def test_difficult_objects_of_voc_stay_difficult(tmp_path):
    (tmp_path / "a.xml").write_text(XML.format(filename="a.jpg", difficult=1), encoding="utf-8")
    FORMATS["voc"].write(FORMATS["voc"].read(tmp_path, None), tmp_path / "out", ["dog"])
    (again,) = FORMATS["voc"].read(tmp_path / "out", None)
    assert again.boxes.difficult.tolist() == [True]


@pytest.mark.parametrize("left", ["._a.xml", "__MACOSX/._a.xml", "@eaDir/a.xml", ".cache/a.xml"])
def test_what_systems_leave_beside_annotations_is_passed_over(tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "a.xml").write_text(XML.format(filename="a.jpg", difficult=0), encoding="utf-8")
    assert [image.name for image in FORMATS["voc"].read(tmp_path, None)] == ["a.jpg"]
