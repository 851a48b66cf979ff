"""ILSVRC's CLS-LOC folders, and Kaggle's tables of them."""

import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_imagenet, read_kaggle_loc, read_samples
from wsl.errors import UserError

MAPPING = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\nn99999999 never here\n"


def annotation(*boxes, name="n01440764"):
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><size><width>40</width><height>20</height></size>{objects}</annotation>"


@pytest.fixture
def ilsvrc(tmp_path, write):
    write("LOC_synset_mapping.txt", MAPPING)
    for synset in ("n01440764", "n02012849", "n03126707"):
        write(f"ILSVRC/Data/CLS-LOC/train/{synset}/{synset}_1.JPEG")
    write("ILSVRC/Annotations/CLS-LOC/train/n01440764/n01440764_1.xml", annotation((0, 0, 9, 19), (10, 5, 39, 19)))
    write("ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG")
    write("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", annotation((1, 2, 3, 4), name="n03126707"))
    return tmp_path


def test_train_is_labelled_by_folders_and_val_by_annotations(ilsvrc):
    assert detect_format(ilsvrc) == "imagenet"
    train, val = (read_samples(DataConfig(data=ilsvrc), split) for split in ("train", "val"))
    # Of the synsets that are there, by their first name where no other has it.
    assert train.classes == val.classes == ("tench", "n02012849", "n03126707")
    assert [sample.labels for sample in train.samples] == [("tench",), ("n02012849",), ("n03126707",)]
    tench, crane, _ = train.samples
    assert tench.boxes.xyxy.tolist() == [[0, 0, 10, 20], [10, 5, 40, 20]]  # from 0, both corners included
    assert (tench.id, tench.size, crane.boxes) == ("n01440764/n01440764_1", (40, 20), None)
    (sample,) = val.samples
    assert (sample.labels, sample.boxes.xyxy.tolist()) == (("n03126707",), [[1, 2, 4, 5]])
    assert read_imagenet(ilsvrc / "ILSVRC", "val").samples[0].path == sample.path


def test_without_a_mapping_classes_are_the_synsets(ilsvrc):
    (ilsvrc / "LOC_synset_mapping.txt").unlink()
    assert read_imagenet(ilsvrc, "val").classes == ("n01440764", "n02012849", "n03126707")


def test_what_is_missing_is_named(ilsvrc, write):
    with pytest.raises(UserError, match="has no split 'test'; it has: train, val"):
        read_imagenet(ilsvrc, "test")
    write("ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml", annotation((1, 2, 3, 4), name="n7"))
    with pytest.raises(UserError, match="the synset 'n7' is not in LOC_synset_mapping"):
        read_imagenet(ilsvrc, "val")
    (ilsvrc / "ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_00000001.xml").unlink()
    with pytest.raises(UserError, match=r"00000001\.JPEG: no annotation, and no folder that names its synset"):
        read_imagenet(ilsvrc, "val")
    write("LOC_synset_mapping.txt", "n01440764 tench\n")
    with pytest.raises(UserError, match="no line for the synset 'n02012849'"):
        read_imagenet(ilsvrc, "train")


def test_kaggles_table(ilsvrc, write):
    rows = "n01440764_1,n01440764 0 0 9 19 n02012849 10 5 39 19 \nILSVRC2012_val_00000001,n03126707 1 2 3 4 \n"
    table = write("LOC_train_solution.csv", f"ImageId,PredictionString\n{rows}")
    assert detect_format(table) == "imagenet"
    fish, bird = read_samples(DataConfig(data=table), "all").samples
    assert fish.labels == ("tench", "n02012849")
    assert fish.boxes.xyxy.tolist() == [[0, 0, 10, 20], [10, 5, 40, 20]]
    assert fish.path.parts[-3:] == ("train", "n01440764", "n01440764_1.JPEG")
    assert bird.path.parts[-2:] == ("val", "ILSVRC2012_val_00000001.JPEG")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("n01440764_1,n01440764 1 2 3", "line 2: 4 values, expected five an object"),
        ("n01440764_1,", "line 2: 0 values, expected five"),
        ("n01440764_1,n7 1 2 3 4", "the synset 'n7' is unknown; known: n01440764"),
        ("n01440764_1,n01440764 1 2 x 4", "expected a number"),
        ("n01440764_1,n01440764 9 2 3 4", "the inverted box"),
        ("../a,n01440764 1 2 3 4", r"the image '../a', expected a name"),
        ("n01440764_7,n01440764 1 2 3 4", "no such image; 1 of the 1"),
    ],
)
def test_a_malformed_row_is_named(ilsvrc, write, row, message):
    table = write("LOC_train_solution.csv", f"ImageId,PredictionString\n{row}\n")
    with pytest.raises(UserError, match=message):
        read_kaggle_loc(table)
