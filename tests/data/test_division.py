"""Training and validation images of data sets without splits."""

import dataclasses
import json
import logging
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from wsl.config import DataConfig
from wsl.data import divided_samples, list_splits, read_samples
from wsl.data.division import divide
from wsl.errors import UserError
from wsl.samples import Sample, SampleSet

COUNTS = {"cat": 20, "cow": 1, "dog": 11, "emu": 2}


def images(root: Path) -> list[Path]:
    return [root / label / f"{i}.jpg" for label, count in COUNTS.items() for i in range(count)]


def make(root: Path) -> Path:
    for path in images(root):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def of(root: Path, *, shuffle: bool = False) -> SampleSet:
    samples = [Sample(path=path, labels=[path.parent.name]) for path in images(root)]
    if shuffle:
        random.Random(0).shuffle(samples)
    return SampleSet(classes=tuple(COUNTS), samples=tuple(samples))


def below(samples: SampleSet, root: Path) -> set[str]:
    return {sample.path.relative_to(root).as_posix() for sample in samples.samples}


def labels(samples: SampleSet) -> Counter[str]:
    return Counter(label for sample in samples.samples for label in sample.labels)


def test_each_class_gives_its_fraction_and_keeps_an_image_to_train_on():
    train, val = divide(of(Path("a")), 0.2, 0, Path("a"))
    assert labels(val) == {"cat": 4, "dog": 2, "emu": 1}
    assert labels(train) + labels(val) == Counter(COUNTS)


def test_place_and_order_do_not_matter_and_the_seed_does():
    first = divide(of(Path("a")), 0.2, 0, Path("a"))
    again = divide(of(Path("elsewhere/b"), shuffle=True), 0.2, 0, Path("elsewhere/b"))
    assert below(first.val, Path("a")) == below(again.val, Path("elsewhere/b"))
    assert below(divide(of(Path("a")), 0.2, 1, Path("a")).val, Path("a")) != below(first.val, Path("a"))


def test_an_image_more_moves_at_most_one_other():
    samples = of(Path("a"))
    before = below(divide(samples, 0.2, 0, Path("a")).val, Path("a"))
    for i in range(20):
        more = Sample(path=f"a/cat/new{i}.jpg", labels=["cat"])
        grown = dataclasses.replace(samples, samples=(*samples.samples, more))
        after = below(divide(grown, 0.2, 0, Path("a")).val, Path("a")) - {f"cat/new{i}.jpg"}
        assert len(before ^ after) <= 1


def test_a_class_beside_rarer_ones_keeps_an_image_to_train_on():
    rare = [Sample(path=f"a/{i}.jpg", labels=["all", f"rare{i // 2}"]) for i in range(8)]
    samples = SampleSet(classes=["all", *(f"rare{i}" for i in range(4))], samples=rare)
    for seed in range(20):
        train, val = divide(samples, 0.5, seed, Path("a"))
        assert set(samples.classes) == set(labels(train))
        assert len(val) == 4


def test_images_without_labels_are_divided_too():
    samples = SampleSet(classes=["cat"], samples=[Sample(path=f"a/{i}.jpg") for i in range(10)])
    assert [len(part) for part in divide(samples, 0.3, 0, Path("a"))] == [7, 3]


def layouts(root: Path) -> dict[str, Path]:
    """One data set without splits in several layouts."""
    flat = make(root / "flat")
    paths = [path.relative_to(flat).as_posix() for path in images(flat)]
    (flat / "labels.csv").write_text("path,labels\n" + "".join(f"{p},{Path(p).parent}\n" for p in paths), "utf-8")
    categories = [{"id": i, "name": name} for i, name in enumerate(COUNTS)]
    numbers = {name: i for i, name in enumerate(COUNTS)}
    document = {
        "images": [{"id": i, "file_name": p, "width": 8, "height": 8} for i, p in enumerate(paths)],
        "categories": categories,
        "annotations": [
            {"id": i, "image_id": i, "category_id": numbers[Path(p).parent.name], "bbox": [0, 0, 4, 4]}
            for i, p in enumerate(paths)
        ],
    }
    for name in ("instances.json", "annotations/instances_default.json"):
        (flat / name).parent.mkdir(exist_ok=True)
        (flat / name).write_text(json.dumps(document), "utf-8")
    (flat / "metadata").mkdir()
    rows = [json.dumps({"file_name": p, "label": Path(p).parent.name}) for p in paths]
    shutil.copytree(make(root / "table"), root / "folder")
    (root / "table" / "metadata.jsonl").write_text("\n".join(rows), "utf-8")
    return {
        "folder": root / "folder",
        "table": flat / "labels.csv",
        "COCO's file": flat / "instances.json",
        "imagefolder": root / "table",
    }


@pytest.mark.parametrize("name", ["folder", "table", "COCO's file", "imagefolder"])
def test_every_layout_without_splits_is_divided_alike(tmp_path, caplog, name):
    caplog.set_level(logging.INFO, "wsl")
    data = layouts(tmp_path)[name]
    config = DataConfig(data=data, val_fraction=0.2)
    train, val = read_samples(config, "train"), read_samples(config, "val")
    assert labels(val) == {"cat": 4, "dog": 2, "emu": 1}
    assert labels(train) + labels(val) == Counter(COUNTS)
    assert not {sample.path for sample in train.samples} & {sample.path for sample in val.samples}
    told = (
        "split into 27 images to train on and 7 to validate on (0.2 of each class, split seed 0); in train alone: cow"
    )
    assert told in caplog.text
    assert list_splits(config) == ("train", "val")


def test_without_a_fraction_all_images_are_taken_and_that_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "wsl")
    config = DataConfig(data=make(tmp_path / "flat"))
    assert len(read_samples(config, "val")) == len(read_samples(config, "train")) == 34
    assert "flat has no splits: all its 34 images are taken for val" in caplog.text
    with pytest.raises(UserError, match="has no split 'test'; it has: all"):
        read_samples(config, "test")


def test_val_is_kept_from_train_where_there_are_other_splits(tmp_path):
    make(tmp_path / "train")
    make(tmp_path / "test")
    config = DataConfig(data=tmp_path)
    with pytest.raises(UserError, match="has no split 'val'; it has: all, test, train"):
        read_samples(config, "val")
    parts = divided_samples(dataclasses.replace(config, val_fraction=0.2))
    assert {sample.path.relative_to(tmp_path).parts[0] for part in parts.values() for sample in part.samples} == {
        "train"
    }
    assert list_splits(dataclasses.replace(config, val_fraction=0.2)) == ("train", "val", "test")


def test_splits_of_other_names_are_not_divided(tmp_path):
    for fold in ("one", "two"):
        make(tmp_path / fold)
    with pytest.raises(UserError, match="has no split 'train'; it has: all, one, two"):
        read_samples(DataConfig(data=tmp_path, val_fraction=0.2), "train")


def test_a_class_named_train_and_classes_of_folders(tmp_path):
    for name in ("train/a.jpg", "train/b.jpg", "bus/2020/c.jpg", "bus/2021/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read_samples(DataConfig(data=tmp_path, val_fraction=0.5), "train").classes == ("bus", "train")


def test_a_single_image_of_each_class_cannot_be_divided(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").touch()
    with pytest.raises(UserError, match="no class has two images, one to train on and one to validate on"):
        read_samples(DataConfig(data=tmp_path, val_fraction=0.2), "val")
