"""read_voc against torchvision, the counts of real data, and one clear line for every kind of bad data set."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.data import VOC_CLASSES, read_voc
from wsl.data.voc_xml import read_annotation
from wsl.errors import RunError, UserError

README_COUNTS = {  # images with a non-difficult object and boxes, train / val, from the data's own description
    "aeroplane": (5, 4, 7, 8), "bicycle": (9, 4, 14, 12), "bird": (17, 2, 26, 6), "boat": (7, 4, 13, 5),
    "bottle": (47, 9, 86, 10), "bus": (4, 3, 6, 3), "car": (67, 8, 132, 19), "cat": (1005, 119, 1141, 132),
    "chair": (104, 16, 209, 32), "cow": (263, 71, 628, 132), "diningtable": (18, 6, 25, 8),
    "dog": (1201, 128, 1439, 150), "horse": (444, 79, 698, 104), "motorbike": (9, 3, 15, 6),
    "person": (593, 97, 1148, 167), "pottedplant": (60, 10, 127, 13), "sheep": (299, 57, 931, 153),
    "sofa": (79, 16, 152, 27), "train": (2, 4, 2, 5), "tvmonitor": (41, 6, 47, 8),
}  # fmt: skip


def voc_object(name: str = "dog", box: tuple = (1, 1, 10, 10), difficult: int = 0, extra: str = "") -> str:
    edges = "".join(f"<{e}>{v}</{e}>" for e, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    flag = f"<difficult>{difficult}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{edges}</bndbox>{extra}</object>"


def voc_xml(*objects: str, size: tuple[int, int] | None = (100, 50)) -> str:
    shape = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return f"<annotation>{shape}{''.join(objects)}</annotation>"


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes VOCdevkit/VOC2012 with these annotations (id -> XML, None for an image without) and lists."""

    def write(annotations: dict[str, str | None], lists: dict[str, str] | None = None, year: str = "2012") -> Path:
        folder = tmp_path / "VOCdevkit" / f"VOC{year}"
        files = {f"Annotations/{name}.xml": xml for name, xml in annotations.items() if xml is not None}
        files |= {f"JPEGImages/{name}.jpg": "" for name in annotations}
        files |= {f"ImageSets/Main/{k}.txt": v for k, v in (lists or {"val": "\n".join(annotations)}).items()}
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        return tmp_path / "VOCdevkit"

    return write


def test_boxes_labels_and_difficult_objects(make):
    root = make({
        "a": voc_xml(voc_object("dog", (1, 1, 10, 20)), voc_object("dog", difficult=1), voc_object("cow", difficult=1))
    })  # fmt: skip
    found = read_voc(root, "val")
    (sample,) = found.samples
    assert found.classes == VOC_CLASSES
    assert (sample.id, sample.size, sample.labels, sample.ignored) == ("a", (100, 50), ("dog",), ("cow",))
    assert sample.boxes.xyxy[0].tolist() == [0, 0, 10, 20]
    assert sample.boxes.difficult.tolist() == [False, True, True]
    assert sample.path.is_file()


def test_parts_of_objects_are_not_objects(make):
    head = "<part><name>head</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></part>"
    found = read_voc(make({"a": voc_xml(voc_object("person", extra=head))}), "val")
    assert found.samples[0].boxes.labels == ("person",)


def test_every_way_to_name_the_folder(make, tmp_path):
    root = make({"a": voc_xml(voc_object())})
    for place in (tmp_path, root, root / "VOC2012", str(root)):
        for year in (None, "2012", "VOC2012"):
            assert len(read_voc(place, "val", year)) == 1


def test_several_years_need_a_choice(make):
    make({"a": voc_xml(voc_object())}, year="2007")
    root = make({"b": voc_xml(voc_object()), "c": voc_xml(voc_object())}, year="2012")
    assert [len(read_voc(root, "val", year)) for year in ("2007", "2012")] == [1, 2]
    with pytest.raises(UserError, match=r"holds several data sets \(VOC2007, VOC2012\): choose one with its year"):
        read_voc(root, "val")
    with pytest.raises(UserError, match=r"no data set VOC2010 there; expected ImageSets/Main and JPEGImages"):
        read_voc(root, "val", "2010")
    with pytest.raises(UserError, match="is VOC2007, not VOC2012"):
        read_voc(root / "VOC2007", "val", "2012")


def test_custom_classes_are_the_same_for_every_split(make):
    lists = {"train": "a\nb", "val": "a"}
    root = make({"a": voc_xml(voc_object("dog")), "b": voc_xml(voc_object("zebra"), voc_object("cat"))}, lists)
    assert read_voc(root, "train").classes == read_voc(root, "val").classes == ("cat", "dog", "zebra")
    assert read_voc(root, "train", classes=["zebra", "dog", "cat"]).classes == ("zebra", "dog", "cat")
    (root / "VOC2012" / "labels.txt").write_text("zebra\ndog\n\ncat\n", encoding="utf-8")
    assert read_voc(root, "val").classes == ("zebra", "dog", "cat")


def test_what_macos_leaves_is_passed_over(make):
    """Resource forks have the names of what they belong to, and are neither XML nor text."""
    root = make({"a": voc_xml(voc_object("zebra")), "b": None}, {"val": "a", "test": "b", "dog_test": "b 1\n"})
    for name in ("Annotations/._a.xml", "ImageSets/Main/._val.txt", "ImageSets/Main/._dog_test.txt"):
        (root / "VOC2012" / name).write_bytes(b"\x00\x05\x16\x07\xff")
    (root / "__MACOSX" / "VOC2012" / "Annotations").mkdir(parents=True)
    assert read_voc(root, "val").classes == ("zebra",)
    assert read_voc(root, "test", classes=["dog"]).samples[0].labels == ("dog",)
    with pytest.raises(UserError, match=r"it has: test, val$"):
        read_voc(root, "lost")


def test_an_object_of_an_unknown_class_names_its_file(make):
    root = make({"a": voc_xml(voc_object("dog"))})
    with pytest.raises(UserError, match=r"a\.xml: an object of the unknown class 'dog'; known: cat"):
        read_voc(root, "val", classes=["cat"])


def test_without_annotations_the_class_lists_speak(make):
    lists = {"test": "a\nb", "cat_test": "a  1\nb -1\n", "dog_test": "a  0\nb  1\n", "notes_test": "a\nb\n"}
    found = read_voc(make({"a": None, "b": None}, lists), "test")
    assert [(s.labels, s.ignored, s.boxes) for s in found.samples] == [(("cat",), ("dog",), None), (("dog",), (), None)]


def test_an_image_without_any_label_names_both_files(make):
    with pytest.raises(UserError, match=r"b\.jpg has no annotation: expected .*b\.xml, or its labels in ImageSets"):
        read_voc(make({"a": voc_xml(voc_object()), "b": None}), "val")


def test_images_of_another_suffix_are_found(make):
    root = make({"a": voc_xml(voc_object())})
    image = root / "VOC2012" / "JPEGImages" / "a.jpg"
    image.rename(image.with_suffix(".PNG"))
    assert read_voc(root, "val").samples[0].path.name == "a.PNG"


def test_missing_images_are_counted(make):
    root = make({"a": voc_xml(), "b": voc_xml()}, {"val": "a\nb\nc\nd\n"})
    with pytest.raises(UserError, match=r"c\.jpg: no such image; 2 of the 4 images that ImageSets/Main/val\.txt names"):
        read_voc(root, "val")


def test_an_id_must_not_leave_the_folder(make):
    with pytest.raises(UserError, match=r"ImageSets/Main/val\.txt names '\.\./\.\./secret\.jpg', which is not inside"):
        read_voc(make({"a": voc_xml()}, {"val": "../../secret"}), "val")


def test_an_unknown_split_lists_the_others_and_not_the_class_lists(make):
    lists = {"train": "a", "trainval": "a", "dog_train": "a 1", "dog_trainval": "a 1"}
    root = make({"a": voc_xml()}, lists)
    with pytest.raises(UserError, match=r"has no split 'trian'; did you mean 'train'\? It has: train, trainval$"):
        read_voc(root, "trian")
    with pytest.raises(UserError, match="needs a split; it has: train, trainval"):
        read_voc(root, None)


def test_an_empty_list_says_so(make):
    with pytest.raises(UserError, match=r"val\.txt lists no image"):
        read_voc(make({"a": voc_xml()}, {"val": "\n"}), "val")


def test_no_voc_there(tmp_path):
    with pytest.raises(UserError, match="no data set in VOC layout there"):
        read_voc(tmp_path, "val")


def test_boxes_outside_are_clipped_with_one_warning(make):
    boxes = [(0, 1, 101, 50), (1, 1, 100, 50), (200, 1, 300, 9)]
    root = make({"a": voc_xml(*(voc_object(box=box) for box in boxes)), "b": voc_xml(voc_object(box=(9, 9, 999, 9)))})
    with pytest.warns(
        UserWarning, match="3 of 3 boxes reached outside their image and were clipped or dropped"
    ) as seen:
        found = read_voc(root, "val")
    assert len(seen) == 1
    assert found.samples[0].boxes.xyxy.tolist() == [[0, 0, 100, 50], [0, 0, 100, 50]]
    assert found.samples[1].boxes.xyxy.tolist() == [[8, 8, 100, 9]]


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_without_a_size_boxes_stay_as_they_are(make, size):
    found = read_voc(make({"a": voc_xml(voc_object(box=(1, 1, 500, 500)), size=size)}), "val")
    assert found.samples[0].size is None
    assert found.samples[0].boxes.xyxy.tolist() == [[0, 0, 500, 500]]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation>", r"a\.xml: not well-formed XML"),
        ("", r"a\.xml: not well-formed XML"),
        ('<!DOCTYPE x [<!ENTITY e "boom">]><x>&e;</x>', r"a\.xml: refused, it declares XML entities"),
        (voc_xml(voc_object(box=(10, 1, 5, 9))), r"a\.xml: dog has the inverted box \['10', '1', '5', '9'\]"),
        (
            voc_xml(voc_object(box=("x", 1, 5, 9))),
            r"a\.xml: dog has the box \['x', '1', '5', '9'\]; expected the numbers",
        ),
        (voc_xml(voc_object(box=(1, 1, 5, "nan"))), r"a\.xml: dog has the box"),
        (voc_xml("<object><name>dog</name></object>"), r"a\.xml: dog has the box \[None, None, None, None\]"),
        (voc_xml("<object><bndbox/></object>"), r"a\.xml: an object has no <name>"),
    ],
)
def test_a_malformed_annotation_names_its_file(make, xml, message):
    with pytest.raises(UserError, match=message):
        read_voc(make({"a": xml}), "val")


edge = st.integers(1, 60)


@settings(max_examples=50)
@given(st.lists(st.tuples(edge, edge, edge, edge, st.booleans()), max_size=4))
def test_annotations_come_back_half_open_and_of_the_same_size(tmp_path_factory, rows):
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d, _ in rows]
    objects = [voc_object("dog", box, int(row[4])) for box, row in zip(boxes, rows, strict=True)]
    file = tmp_path_factory.mktemp("xml") / "a.xml"
    file.write_text(voc_xml(*objects, size=(60, 60)), encoding="utf-8")
    found = read_annotation(file)
    assert found.adjusted == 0
    assert found.boxes.area.tolist() == [(c - a + 1) * (d - b + 1) for a, b, c, d in boxes]
    assert found.boxes.difficult.tolist() == [row[4] for row in rows]


@given(st.text(max_size=60))
@settings(max_examples=50)
def test_any_text_is_an_annotation_or_a_user_error(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("xml") / "a.xml"
    file.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(UserError, match=r"a\.xml"):
        read_annotation(file)


def test_download_skips_what_is_there_and_says_what_to_do_when_it_fails(make, tmp_path, monkeypatch):
    calls = []

    def refuse(root: Path, **options: object) -> None:
        calls.append((root, options))
        raise RuntimeError("File not found\nor corrupted.")

    monkeypatch.setattr(torchvision.datasets, "VOCDetection", refuse)
    with pytest.raises(RunError, match=r"VOC 2007 could not be .* \(File not found or corrupted\.\): get the archive"):
        read_voc(tmp_path / "VOCdevkit", "test", "2007", download=True)
    assert calls == [(tmp_path, {"year": "2007", "image_set": "test", "download": True})]
    with pytest.raises(UserError, match="VOC 2010 cannot be downloaded, expected one of 2007, 2012"):
        read_voc(tmp_path, "val", "2010", download=True)
    root = make({"a": voc_xml(voc_object())}, {"trainval": "a"})
    assert len(read_voc(root, "trainval", download=True)) == len(calls) == 1


@pytest.mark.long
@pytest.mark.realdata
def test_real_voc_has_the_counts_of_its_description(realdata):
    splits = {split: read_voc(realdata / "VOCdevkit", split) for split in ("train", "val")}
    assert {split: len(found) for split, found in splits.items()} == {"train": 3197, "val": 485}
    assert sum(len(sample.boxes) for found in splits.values() for sample in found.samples) == 7846
    images = {split: Counter(name for s in found.samples for name in s.labels) for split, found in splits.items()}
    boxes = {split: Counter(name for s in found.samples for name in s.boxes.labels) for split, found in splits.items()}
    for name in VOC_CLASSES:
        found = (images["train"][name], images["val"][name], boxes["train"][name], boxes["val"][name])
        assert (name, found) == (name, README_COUNTS[name])


@pytest.mark.realdata
def test_real_voc_equals_torchvision(realdata):
    reference = torchvision.datasets.VOCDetection(realdata, year="2012", image_set="val")
    found = read_voc(realdata / "VOCdevkit" / "VOC2012", "val")
    assert len(reference) == len(found)
    for sample, image, xml in zip(found.samples, reference.images, reference.targets, strict=True):
        target = reference.parse_voc_xml(torchvision.datasets.voc.ET_parse(xml).getroot())["annotation"]
        assert sample.path == Path(image)
        assert sample.size == (int(target["size"]["width"]), int(target["size"]["height"]))
        assert list(sample.boxes.labels) == [one["name"] for one in target["object"]]
        assert sample.boxes.difficult.tolist() == [one["difficult"] == "1" for one in target["object"]]
        corners = [[int(one["bndbox"][edge]) for edge in ("xmin", "ymin", "xmax", "ymax")] for one in target["object"]]
        assert np.add(sample.boxes.xyxy, [1, 1, 0, 0]).tolist() == corners


@pytest.mark.realdata
def test_real_class_lists_agree_with_the_annotations(realdata):
    folder = realdata / "VOCdevkit" / "VOC2012"
    found = read_voc(folder, "val")
    for name in VOC_CLASSES:
        lines = (folder / "ImageSets" / "Main" / f"{name}_val.txt").read_text(encoding="utf-8").splitlines()
        flags = dict(line.split() for line in lines)
        for sample in found.samples:
            expected = "1" if name in sample.labels else "0" if name in sample.ignored else "-1"
            assert flags[sample.id] == expected


@pytest.mark.parametrize("size", [(2_147_483_648, 30), (60_000, 60_000), (1, 2_000_000)])
def test_a_size_that_no_image_has_is_refused(tmp_path, size):
    (tmp_path / "a.xml").write_text(voc_xml(voc_object(), size=size))
    with pytest.raises(UserError, match=rf"a\.xml: {size[0]} x {size[1]} pixels by this annotation, expected at most"):
        read_annotation(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("label", "listed", "read"),
    [
        ("dog", "", True),
        ("gnu", "", False),
        ("gnu", "emu\ngnu", True),
        ("dog", "\n".join(VOC_CLASSES[::-1]), False),
    ],
    ids=["of VOC", "of an unknown order", "of a list", "of VOC in another order"],
)
def test_masks_are_read_if_their_numbers_are_known(make, label, listed, read):
    root = make({"a": voc_xml(voc_object(label))})
    mask = root / "VOC2012" / "SegmentationClass" / "a.png"
    mask.parent.mkdir()
    mask.write_bytes(b"")
    if listed:
        (root / "VOC2012" / "labels.txt").write_text(listed, encoding="utf-8")
    assert read_voc(root, "val").samples[0].mask == (mask if read else None)
