"""CUB-200-2011's five lists."""

import pytest

from wsl.config import DataConfig
from wsl.data import detect_format, read_cub, read_samples
from wsl.errors import UserError

LISTS = {
    "images.txt": "1 001.Black_footed_Albatross/a_1.jpg\n2 002.Laysan_Albatross/b_2.jpg\n",
    "image_class_labels.txt": "1 1\n2 2\n",
    "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    "train_test_split.txt": "1 0\n2 1\n",
    "bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 139.0 30.5 153.0 264.0\n",
}


@pytest.fixture
def cub(tmp_path, write):
    for name, text in LISTS.items():
        write(name, text)
    for line in LISTS["images.txt"].splitlines():
        write(f"images/{line.split()[1]}")
    return tmp_path


def test_splits_labels_and_boxes(cub):
    assert detect_format(cub) == "cub"
    train, test = (read_samples(DataConfig(data=cub), split) for split in ("train", "test"))
    assert train.classes == test.classes == ("Black_footed_Albatross", "Laysan_Albatross")
    (sample,) = test.samples
    assert (sample.id, sample.labels) == ("001.Black_footed_Albatross/a_1.jpg", ("Black_footed_Albatross",))
    assert sample.boxes.xyxy.tolist() == [[60, 27, 385, 331]]
    assert [one.labels for one in train.samples] == [("Laysan_Albatross",)]
    assert len(read_cub(cub, "all")) == 2


def test_names_that_differ_by_their_number_only_keep_it(cub, write):
    write("classes.txt", "1 001.Albatross\n2 002.Albatross\n")
    assert read_cub(cub, "all").classes == ("001.Albatross", "002.Albatross")


def test_without_boxes_and_splits(cub):
    for name in ("bounding_boxes.txt", "train_test_split.txt"):
        (cub / name).unlink()
    assert [sample.boxes for sample in read_cub(cub, None).samples] == [None, None]
    with pytest.raises(UserError, match="has no split 'train'; it has: all"):
        read_cub(cub, "train")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images.txt", "one a.jpg\n", r"images\.txt:1: 'one a.jpg', expected a numbered list"),
        ("images.txt", "1 a.jpg\n1 b.jpg\n", r"images\.txt:2: a second line for 1"),
        ("images.txt", "1 ../a.jpg\n", "not inside"),
        ("image_class_labels.txt", "1 1\n2 9\n", "image 2 is of class 9, expected a number of classes.txt"),
        ("image_class_labels.txt", "1 1\n", "image 2 is of class None"),
        ("bounding_boxes.txt", "1 1 2 3 4\n2 1 2 3\n", "image 2 has the box '1 2 3', expected x y width height"),
        ("bounding_boxes.txt", "1 1 2 3 4\n", "image 2 has the box None"),
        ("bounding_boxes.txt", "1 1 2 nan 4\n2 1 2 3 4\n", "expected a number"),
        ("bounding_boxes.txt", "1 1 2 0 4\n2 1 2 3 4\n", "expected a positive width"),
        ("train_test_split.txt", "1 1\n2 1\n", "no image of the split test"),
        ("images.txt", "1 001.Black_footed_Albatross/a_1.jpg\n2 lost.jpg\n", r"lost\.jpg: no such image; 1 of the 2"),
    ],
)
def test_a_malformed_list_is_named(cub, write, name, text, message):
    write(name, text)
    with pytest.raises(UserError, match=message):
        read_cub(cub, "all" if "split" not in name else "test")
