"""webdataset's tars: labels beside images, splits, ranges of shards, and images read where they lie."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_samples, read_webdataset
from wsl.errors import UserError
from wsl.images import read_image


def jpeg(value):
    return cv2.imencode(".png", np.full((4, 6, 3), value, np.uint8))[1].tobytes()


def write_tar(path: Path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            data = data if isinstance(data, bytes) else data.encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def test_members_named_from_the_root_of_the_disk_are_read_in_the_tar(tmp_path):
    (tmp_path / "secret.png").write_bytes(jpeg(90))
    name = (tmp_path / "secret").as_posix()
    tar = write_tar(tmp_path / "a.tar", {f"{name}.png": jpeg(10), f"{name}.cls": "1\n"})
    (sample,) = read_webdataset(tar, None).samples
    assert sample.path.is_relative_to(tar)
    assert read_image(sample.path)[0, 0, 0] == 10


def test_blank_lines_between_labels_are_no_class(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"a.png": jpeg(1), "a.txt": "dog\r\n\r\ncat; ;\r\n"})
    assert read_webdataset(shard, None).classes == ("cat", "dog")


def test_labels_of_every_kind(tmp_path):
    files = {
        "a.png": jpeg(10),
        "a.cls": "1\n",
        "deep/b.c.png": jpeg(20),
        "deep/b.json": json.dumps({"labels": ["dog", 0]}),
        "c.webp": jpeg(30),
        "c.txt": "dog\ncat\n",
        "d.jpg": jpeg(40),
        "d.json": json.dumps({"label": 1}),
        "d.txt": "a caption that does not count",
        "._a.png": b"",
    }
    (tmp_path / "classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    shard = write_tar(tmp_path / "shard-000000.tar", files)
    assert detect_format(shard) == "webdataset"
    found = read_samples(DataConfig(data=shard), "all")
    assert found.classes == ("cat", "dog")
    assert {sample.id: sample.labels for sample in found.samples} == {
        "shard-000000/a": ("dog",),
        "shard-000000/deep/b": ("cat", "dog"),
        "shard-000000/c": ("cat", "dog"),
        "shard-000000/d": ("dog",),
    }
    assert [read_image(sample.path)[0, 0, 0] for sample in found.samples] == [10, 20, 30, 40]


def test_splits_and_ranges(tmp_path):
    for split, label in (("train", "dog"), ("val", "cat")):
        for number in range(2):
            write_tar(tmp_path / f"{split}-{number:03}.tar", {f"{number}.png": jpeg(1), f"{number}.cls": label})
    train = read_webdataset(tmp_path, "train")
    assert (len(train), train.classes) == (2, ("cat", "dog"))  # those of all splits
    assert len(read_webdataset(tmp_path, None)) == 4
    assert len(read_webdataset(tmp_path / "train-{000..001}.tar", "all")) == 2
    with pytest.raises(UserError, match=r"train-002\.tar: no such tar; 1 of 3 shards are missing"):
        read_webdataset(tmp_path / "train-{000..002}.tar", None)
    with pytest.raises(UserError, match=r"the range {5\.\.2} is empty"):
        read_webdataset(tmp_path / "train-{5..2}.tar", None)
    with pytest.raises(UserError, match="no split 'tset'"):
        read_webdataset(tmp_path, "tset")


def test_numbers_are_in_their_order(tmp_path):
    shard = write_tar(tmp_path / "a.tar", {"a.png": jpeg(1), "a.cls": "10", "b.png": jpeg(1), "b.cls": "9"})
    assert read_webdataset(shard, None).classes == ("9", "10")


def test_images_without_a_label_are_left_out_and_counted(tmp_path, caplog):
    shard = write_tar(tmp_path / "a.tar", {"a.png": jpeg(1), "a.cls": "dog", "b.png": jpeg(2)})
    assert len(read_webdataset(shard, None)) == 1
    assert "left out 1 images without a label: b.png" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png": "", "a.json": "{"}, r"a\.tar/a\.json: not JSON"),
        ({"a.png": "", "a.json": "{}"}, r"a\.json: expected an object with labels"),
        ({"a.png": "", "a.json": '{"label": 1.5}'}, "the label 1.5, expected a number or a name"),
        ({"a.png": "", "a.cls": b"\xff"}, "not UTF-8"),
        ({"a.png": ""}, "no image with a label"),
        ({"a.cls": "1"}, "no image with a label"),
    ],
)
def test_a_malformed_label_is_named(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read_webdataset(write_tar(tmp_path / "a.tar", files), None)


def test_a_class_that_the_list_lacks(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\n", encoding="utf-8")
    with pytest.raises(UserError, match="the class '7' is not among the 1 of the list"):
        read_webdataset(write_tar(tmp_path / "a.tar", {"a.png": jpeg(1), "a.cls": "7"}), None)
