"""OpenImages' tables: verified labels, present and absent, and boxes as fractions."""

import logging

import numpy as np
import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_openimages, read_samples, targets
from wsl.errors import UserError

LABELS = """ImageID,Source,LabelName,Confidence
a1,verification,/m/dog,1
a1,verification,/m/cat,0
a2,crowdsource-verification,/m/cat,1
a2,verification,/m/cow,1
a2,crowdsource-verification,/m/cow,0
zz,verification,/m/dog,1
"""
BOXES = """ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside
a1,xclick,/m/dog,1,0.25,0.5,0.1,1.0,0,0,0,0,0
a1,xclick,/m/dog,1,0,1,0,1,0,0,1,0,0
zz,xclick,/m/dog,1,0,1,0,1,0,0,1,0,0
"""
NAMES = "/m/cat,Cat\n/m/cow,Cow\n/m/dog,Dog\n/m/eel,Eel\n"


@pytest.fixture
def openimages(tmp_path, write, picture):
    write("train-annotations-human-imagelabels-boxable.csv", LABELS)
    write("train-annotations-bbox.csv", BOXES)
    write("class-descriptions-boxable.csv", NAMES)
    for name in ("a1", "a2", "unlisted"):
        picture(f"train/{name}.jpg", (40, 20))
    return tmp_path


def test_only_what_was_verified_is_known(openimages, caplog):
    assert detect_format(openimages) == "openimages"
    with caplog.at_level(logging.INFO, logger="wsl"):
        found = read_samples(DataConfig(data=openimages), "train")
    assert "1 images of train-annotations-human-imagelabels-boxable.csv are not there" in caplog.text
    assert found.classes == ("Cat", "Cow", "Dog", "Eel")
    first, second = found.samples
    assert (first.id, first.labels, first.negatives) == ("a1", ("Dog",), ("Cat",))
    # Of the cow both was said.
    assert (second.id, second.labels, second.negatives) == ("a2", ("Cat",), ())
    values, known = targets(first, found.classes)
    assert (values.tolist(), known.tolist()) == ([0, 0, 1, 0], [1, 0, 1, 0])


def test_boxes_are_in_pixels_and_groups_difficult(openimages):
    first, second = read_openimages(openimages, "train").samples
    assert first.size == (40, 20)
    np.testing.assert_allclose(first.boxes.xyxy, [[10, 2, 20, 20], [0, 0, 40, 20]], rtol=1e-6)
    assert first.boxes.difficult.tolist() == [False, True]
    assert second.boxes is None


def test_newer_names_of_the_tables(openimages, write):
    (openimages / "train-annotations-human-imagelabels-boxable.csv").rename(
        openimages / "oidv7-train-annotations-human-imagelabels.csv"
    )
    (openimages / "train-annotations-bbox.csv").rename(openimages / "oidv6-train-annotations-bbox.csv")
    write("class-descriptions-boxable.csv", "LabelName,DisplayName\n/m/cat,Pet\n/m/cow,Cow\n/m/dog,Pet\n")
    found = read_openimages(openimages, "train")
    assert found.classes == ("/m/cat", "Cow", "/m/dog")  # two of one name keep their codes
    assert len(found.samples[0].boxes) == 2


def test_without_descriptions_classes_are_the_codes_of_all_splits(openimages, write):
    (openimages / "class-descriptions-boxable.csv").unlink()
    write("validation-annotations-human-imagelabels-boxable.csv", "ImageID,LabelName,Confidence\nb,/m/ant,1\n")
    assert read_openimages(openimages, "train").classes == ("/m/ant", "/m/cat", "/m/cow", "/m/dog")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train-annotations-bbox.csv", BOXES.replace("0.25", "1.5"), "line 2: the box .*, expected fractions"),
        ("train-annotations-bbox.csv", BOXES.replace("0.25", "0.75"), "line 2: the box .*, expected fractions"),
        ("train-annotations-bbox.csv", BOXES.replace(",XMin", ",x"), "no column 'XMin'"),
        (
            "train-annotations-human-imagelabels-boxable.csv",
            LABELS.replace("dog,1", "dog,0.7"),
            "line 2: the confidence is '0.7', expected 0 or 1",
        ),
        ("class-descriptions-boxable.csv", "/m/cat,Cat\n", "the class '/m/dog' is not in class-descriptions"),
        (
            "train-annotations-human-imagelabels-boxable.csv",
            "ImageID,LabelName,Confidence\nzz,/m/dog,1\n",
            "none of the 1 images",
        ),
    ],
)
def test_a_malformed_table_is_named(openimages, write, name, text, message):
    write(name, text)
    with pytest.raises(UserError, match=message):
        read_openimages(openimages, "train")


def test_an_image_that_is_damaged_has_no_boxes(openimages):
    (openimages / "train" / "a1.jpg").write_bytes(b"no image")
    assert read_openimages(openimages, "train").samples[0].boxes is None
