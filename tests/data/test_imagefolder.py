"""Hugging Face's imagefolder: metadata.csv and metadata.jsonl beside the images."""

import json

import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_imagefolder, read_samples
from wsl.errors import UserError


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def test_a_table_for_each_split(tmp_path, write):
    write(
        "train/metadata.jsonl", lines({"file_name": "a.jpg", "label": "dog"}, {"file_name": "x/b.jpg", "label": "cat"})
    )
    write("validation/metadata.csv", "file_name,labels,note\nc.jpg,dog;eel,fine\n")
    for name in ("train/a.jpg", "train/x/b.jpg", "validation/c.jpg"):
        write(name)
    assert detect_format(tmp_path) == "imagefolder"
    train, val = (read_samples(DataConfig(data=tmp_path), split) for split in ("train", "val"))
    assert train.classes == val.classes == ("cat", "dog", "eel")
    assert [(sample.id, sample.labels) for sample in train.samples] == [
        ("train/a.jpg", ("dog",)),
        ("train/x/b.jpg", ("cat",)),
    ]
    assert [(sample.labels, sample.boxes) for sample in val.samples] == [(("dog", "eel"), None)]


def test_objects_are_boxes_and_give_the_labels(tmp_path, write):
    objects = {"bbox": [[1, 2, 3, 4], [0, 0, 5.5, 5]], "categories": [10, 9]}
    write(
        "metadata.jsonl",
        lines({"file_name": "train/a.jpg", "objects": objects}, {"file_name": "test/b.jpg", "label": 9}),
    )
    write("train/a.jpg")
    write("test/b.jpg")
    (sample,) = read_imagefolder(tmp_path, "train").samples
    assert read_imagefolder(tmp_path, "test").classes == ("9", "10")  # numbers in their order
    assert sample.labels == ("9", "10")
    assert (sample.boxes.labels, sample.boxes.xyxy.tolist()) == (("10", "9"), [[1, 2, 4, 6], [0, 0, 5.5, 5]])
    assert len(read_imagefolder(tmp_path, None)) == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"label": "dog"}, r"metadata\.jsonl:1: no file_name"),
        ({"file_name": "../a.jpg", "label": "dog"}, "not inside"),
        ({"file_name": "a.jpg", "label": 1.5}, "label is 1.5, expected the name or number"),
        ({"file_name": "a.jpg", "labels": [True]}, "labels is"),
        ({"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3]], "categories": ["dog"]}}, "the bbox"),
        ({"file_name": "a.jpg", "objects": {"bbox": [[1, 2, -3, 4]], "categories": ["dog"]}}, "negative width"),
        ({"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3, 4]]}}, "expected bbox and categories"),
        ({"file_name": "a.jpg", "objects": {"bbox": [[1, 2, 3, 4]], "categories": []}}, "as many of each"),
        ({"file_name": "lost.jpg", "label": "dog"}, r"lost\.jpg: no such image"),
        ({"file_name": "a.jpg"}, "no row has a label"),
        ([], "a list, expected a row"),
    ],
)
def test_a_malformed_row_is_named(tmp_path, write, record, message):
    write("metadata.jsonl", lines(record))
    write("a.jpg")
    with pytest.raises(UserError, match=message):
        read_imagefolder(tmp_path, "all")


def test_an_image_in_two_rows_is_refused(tmp_path, write):
    write("metadata.csv", "file_name,label\na.jpg,dog\na.jpg,cat\n")
    write("a.jpg")
    with pytest.raises(UserError, match=r"a\.jpg is in several rows"):
        read_imagefolder(tmp_path, None)
