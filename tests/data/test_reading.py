"""Which layout a data set has, and its labels as numbers."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from wsl.config import DataConfig
from wsl.config.shared import DataFormat
from wsl.data import detect_format, list_splits, read_samples, targets
from wsl.data.layouts import LAYOUTS
from wsl.errors import UserError
from wsl.images import read_image
from wsl.samples import Sample


def touch(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    touch(tmp_path / "voc/VOC2012/ImageSets/Main/val.txt", "a\n")
    touch(tmp_path / "voc/VOC2012/JPEGImages/a.jpg")
    touch(tmp_path / "voc/VOC2012/Annotations/a.xml", "<annotation/>")
    return tmp_path / "voc"


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    images, categories = [{"id": 1, "file_name": "a.jpg"}], [{"id": 1, "name": "dog"}]
    document = {"images": images, "categories": categories, "annotations": []}
    touch(tmp_path / "coco/annotations/instances_val.json", json.dumps(document))
    touch(tmp_path / "coco/val/a.jpg")
    return tmp_path / "coco"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    touch(tmp_path / "folder/val/dog/a.jpg")
    return tmp_path / "folder"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "labels.CSV", "path,split,dog\na.jpg,val,1\n")
    return tmp_path / "labels.CSV"


def test_every_layout_is_recognised_and_read(voc, coco, folder, table):
    for data, layout in ((voc, "voc"), (coco, "coco"), (folder, "folder"), (table, "csv")):
        assert detect_format(data) == layout
        for setting in ("auto", layout):
            found = read_samples(DataConfig(data=data, format=setting), "val")
            assert [sample.id for sample in found.samples] == ["a.jpg" if layout == "coco" else "a"]
    assert detect_format(coco / "annotations" / "instances_val.json") == "coco"
    assert detect_format(voc / "VOC2012") == detect_format(voc) == "voc"


def test_several_years_are_still_voc(voc):
    touch(voc / "VOC2007/ImageSets/Main/val.txt", "a\n")
    (voc / "VOC2007/JPEGImages").mkdir()
    with pytest.raises(UserError, match="holds several data sets"):
        read_samples(DataConfig(data=voc), "val")
    assert len(read_samples(DataConfig(data=voc, year="2012"), "val")) == 1


@pytest.mark.parametrize("layout", ["voc", "coco", "folder", "csv", "auto"])
def test_a_split_that_is_not_there_lists_those_that_are(voc, coco, folder, table, layout):
    data = {"voc": voc, "coco": coco, "folder": folder, "csv": table, "auto": voc}[layout]
    with pytest.raises(UserError, match=r"has no split 'vla'; did you mean 'val'\? It has: .*val"):
        read_samples(DataConfig(data=data, format=layout), "vla")


def test_nothing_recognised_names_what_was_looked_for(tmp_path):
    (tmp_path / "stuff" / "deep").mkdir(parents=True)
    message = r"no data set recognised; looked for ImageSets/Main .* annotations/instances_<split>\.json .* class/image"
    with pytest.raises(UserError, match=message):
        read_samples(DataConfig(data=tmp_path / "stuff"), "val")
    with pytest.raises(UserError, match="lost: no such file or folder"):
        detect_format(tmp_path / "lost")
    touch(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a\.txt: a file of unknown kind, expected a folder, a COCO \.json, a "):
        detect_format(tmp_path / "a.txt")


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "hfds"])
def test_a_folder_without_the_named_layout_says_what_is_missing(tmp_path, layout):
    with pytest.raises(UserError, match=tmp_path.name) as raised:
        read_samples(DataConfig(data=tmp_path, format=layout), "train")
    assert "it has: none" not in str(raised.value)


def test_settings_name_the_layouts_there_are():
    assert get_args(DataFormat) == ("auto", *LAYOUTS)


def test_only_voc_is_downloaded(coco):
    with pytest.raises(UserError, match="the format coco cannot be downloaded, expected voc"):
        read_samples(DataConfig(data=coco, format="coco", download=True), "val")


def test_targets():
    classes = ("cat", "cow", "dog", "emu")
    sample = Sample(path="a.jpg", labels=["dog"], ignored=["cow"])
    values, known = targets(sample, classes)
    assert (values.tolist(), known.tolist()) == ([0, 0, 1, 0], [1, 0, 1, 1])
    assert (values.dtype, known.dtype) == (np.float32, np.float32)
    assert targets(sample, {"dog": 0, "cow": 1})[0].tolist() == [1, 0]
    for negatives, expected in (((), [0, 0, 1, 0]), (("cat",), [1, 0, 1, 0]), (("cat", "emu"), [1, 0, 1, 1])):
        verified = Sample(path="a.jpg", labels=["dog"], ignored=["cow"], negatives=negatives)
        values, known = targets(verified, classes)
        assert (values.tolist(), known.tolist()) == ([0, 0, 1, 0], expected)
        assert {name for name, one in zip(classes, known, strict=True) if not one} == verified.unknown(classes)
    with pytest.raises(UserError, match=r"a\.jpg: unknown class 'dog'; known: cat, cow"):
        targets(sample, ("cat", "cow"))


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "layout"), [("VOCdevkit", "voc"), ("coco2017_subset", "coco")])
def test_real_data_sets_are_recognised_and_their_sizes_true(realdata, name, layout):
    assert detect_format(realdata / name) == layout
    for sample in read_samples(DataConfig(data=realdata / name), "val").samples[:20]:
        height, width = read_image(sample.path).shape[:2]
        with Image.open(sample.path) as image:
            assert sample.size == image.size == (width, height)


def test_splits_that_can_be_listed(voc, coco, tmp_path):
    assert list_splits(DataConfig(data=voc)) == ("val",)
    assert list_splits(DataConfig(data=coco)) == ("val",)
    touch(tmp_path / "flat/dog/a.jpg")
    assert list_splits(DataConfig(data=tmp_path / "flat")) == ("all",)
    touch(tmp_path / "deep/train/dog/a.jpg")
    assert list_splits(DataConfig(data=tmp_path / "deep")) == ("train",)
