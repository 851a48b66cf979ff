"""Parquet as Hugging Face keeps data sets: images in rows, names of classes in the metadata."""

import json

import cv2
import numpy as np
import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_samples
from wsl.errors import BadImageError, UserError
from wsl.images import find_images, read_image

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def picture(value):
    return cv2.imencode(".png", np.full((4, 6, 3), value, np.uint8))[1].tobytes()


def image(value, path=None):
    return {"bytes": picture(value), "path": path}


def write(file, columns, features=None, rows=2):
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, file, row_group_size=rows)
    return file


CLASSES = {"names": ["cat", "dog"], "_type": "ClassLabel"}


def read(data, split=None):
    return read_samples(DataConfig(data=data), split)


def test_labels_are_named_by_the_metadata(tmp_path):
    images = [image(10 * i, f"{name}.png") for i, name in enumerate("abc", 1)]
    write(tmp_path / "data/train-00000-of-00002.parquet", {"image": images, "label": [1, 0, 1]}, {"label": CLASSES})
    write(tmp_path / "data/train-00001-of-00002.parquet", {"image": [image(90)], "label": [0]}, {"label": CLASSES})
    write(tmp_path / "data/test-00000-of-00001.parquet", {"image": [image(5)], "label": [1]}, {"label": CLASSES})
    assert detect_format(tmp_path) == "parquet"
    train = read(tmp_path, "train")
    assert train.classes == ("cat", "dog")
    assert [(sample.path.name, sample.labels) for sample in train.samples] == [
        *(("a.png", ("dog",)), ("b.png", ("cat",)), ("c.png", ("dog",))),
        ("00000000", ("cat",)),  # without a path, the row's number
    ]
    assert [read_image(sample.path)[0, 0, 0] for sample in train.samples] == [10, 20, 30, 90]
    assert [sample.labels for sample in read(tmp_path, "test").samples] == [("dog",)]
    with pytest.raises(UserError, match=r"has no split 'val'; it has: test, train"):
        read(tmp_path, "val")


def test_a_split_without_labels_stays_unread_where_the_metadata_list_the_classes(tmp_path):
    write(tmp_path / "train.parquet", {"image": [image(1)], "label": [1]}, {"label": CLASSES})
    write(tmp_path / "test.parquet", {"image": [image(2)], "label": [-1]}, {"label": CLASSES})  # as the hub has it
    assert [sample.labels for sample in read(tmp_path, "train").samples] == [("dog",)]
    with pytest.raises(UserError, match=r"test\.parquet: row 0: label is -1, expected one of the 2 classes"):
        read(tmp_path, "test")


def test_lists_of_labels_and_objects(tmp_path):
    objects = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [1]}, {"bbox": [], "category": []}]
    columns = {"image": [image(1), image(2)], "objects": objects}
    nested = {"objects": {"feature": {"bbox": {"feature": {"dtype": "float32"}}, "category": CLASSES}}}
    first, second = read(write(tmp_path / "boxes.parquet", columns, nested)).samples
    assert (first.labels, first.boxes.xyxy.tolist()) == (("dog",), [[1, 2, 4, 6]])
    assert (second.labels, len(second.boxes)) == ((), 0)
    file = write(tmp_path / "names.parquet", {"jpg": [picture(1)], "labels": [["eel", "ant"]]})
    assert read(file).classes == ("ant", "eel")
    file = write(tmp_path / "listed.parquet", {"image": [image(1)], "labels": [[0, 1]]}, {"labels": [CLASSES]})
    assert read(file).samples[0].labels == ("cat", "dog")


def test_rows_are_images_for_every_command(tmp_path):
    file = write(tmp_path / "a.parquet", {"image": [image(i) for i in range(5)]})
    found = list(find_images([str(file)]))
    assert [path.name for path in found] == [f"{i:08d}" for i in range(5)]
    assert [read_image(path)[0, 0, 0] for path in reversed(found)] == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"text": ["a"], "label": [0]}, None, "has the columns text, label, expected one of images"),
        ({"image": [image(1)], "text": ["a"]}, None, "expected label, labels or objects"),
        ({"image": [image(1)], "label": [7]}, {"label": CLASSES}, "row 0: label is 7, expected one of the 2 classes"),
        ({"image": [image(1)], "label": [0.5]}, None, "row 0: label is 0.5, expected the name or number"),
        ({"image": [image(1)], "label": [None]}, None, "no row has a label"),
    ],
)
def test_a_file_of_another_form(tmp_path, columns, features, message):
    file = write(tmp_path / "a.parquet", columns, features)
    with pytest.raises(UserError, match=message):
        read_samples(DataConfig(data=file, format="parquet"), None)


def test_damaged_files_and_rows(tmp_path):
    file = write(tmp_path / "a.parquet", {"image": [image(1), None, {"bytes": None, "path": "x"}], "label": [0, 0, 0]})
    samples = read(file).samples
    for sample in samples[1:]:
        with pytest.raises(BadImageError, match="the row holds no bytes"):
            read_image(sample.path)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="not readable as Parquet"):
        read_samples(DataConfig(data=file, format="parquet"), None)


def test_a_file_s_schema_is_read_once(tmp_path, monkeypatch):
    file = tmp_path / "train.parquet"
    write(file, {"image": [image(10), image(20)], "label": ["cat", "dog"]})
    opened = []
    original = parquet.read_schema
    monkeypatch.setattr(parquet, "read_schema", lambda file: opened.append(file) or original(file))
    samples = read(file)
    for sample in samples.samples:
        read_image(sample.path)
    assert opened == [file]
