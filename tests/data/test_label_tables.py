"""CSV files of labels: both forms, and errors that name the line."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsl.config import DataConfig
from wsl.data import detect_format, read_csv, read_samples
from wsl.errors import UserError

Make = Callable[[str | bytes], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    for name in ("a.jpg", "b.jpg", "sub/c, d.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()

    def write(text: str | bytes) -> Path:
        file = tmp_path / "images" / "labels.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def found(file: Path, split: str | None = None) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(s.path.relative_to(file.parent).as_posix(), s.labels, s.ignored) for s in read_csv(file, split).samples]


def test_names_in_one_column(make):
    file = make('path,labels\na.jpg,dog; cat\nb.jpg,\n"sub/c, d.jpg",potted plant|dog\n')
    assert read_csv(file).classes == ("cat", "dog", "potted plant")
    labelled = [("a.jpg", ("cat", "dog"), ()), ("b.jpg", (), ()), ("sub/c, d.jpg", ("dog", "potted plant"), ())]
    assert found(file) == labelled


def test_a_column_for_each_class(make):
    file = make("path,dog,cat,cow\na.jpg,1,0,-1\nb.jpg,0, 1 ,\n")
    assert read_csv(file).classes == ("dog", "cat", "cow")
    assert found(file) == [("a.jpg", ("dog",), ("cow",)), ("b.jpg", ("cat",), ("cow",))]


def test_splits_share_the_classes(make):
    file = make("split,path,labels\ntrain,a.jpg,dog\nval,b.jpg,cat\n")
    assert found(file, "val") == [("b.jpg", ("cat",), ())]
    assert read_csv(file, "val").classes == read_csv(file, "train").classes == ("cat", "dog")
    assert len(found(file, "all")) == len(found(file, None)) == 2
    with pytest.raises(UserError, match=r"has no split 'vla'; did you mean 'val'\? It has: all, train, val"):
        read_csv(file, "vla")


def test_what_spreadsheets_write(make):
    file = make("path,labels\r\na.jpg,hündchen\r\n,\r\n".encode("utf-8-sig"))
    assert found(file) == [("a.jpg", ("hündchen",), ())]


def test_paths_may_point_anywhere(make, tmp_path):
    (tmp_path / "beside.jpg").touch()
    file = make(f"path,labels\n../beside.jpg,dog\n{(tmp_path / 'images' / 'a.jpg').as_posix()},dog\n")
    assert all(sample.path.is_file() for sample in read_csv(file).samples)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv: the first line is empty, expected a header"),
        ("a.jpg,dog\n", "no column of the header 'a.jpg,dog' names images; expected path,labels or path,<class>"),
        ("path\na.jpg\n", "no column with labels; expected path,labels"),
        ("path,labels,labels\n", "names the column 'labels' twice"),
        ("path,labels\n", "no row below the header"),
        ("path,labels\na.jpg,\n", "no row has a label"),
        ("path,labels\na.jpg,dog\nb.jpg,dog,cat\n", "line 3 has 3 cells, expected 2"),
        ("path,labels\n,dog\n", "line 2 names no image in the column path"),
        ("path,labels\na.jpg,\"['dog', 'cat']\"\n", "line 2: the label .* looks like a list"),
        ('path,labels\na.jpg,dog\nb.jpg,"dog, cat"\n', "line 3: the label 'dog, cat' looks like a list"),
        ("path,dog\na.jpg,yes\n", "line 2, column 'dog': 'yes', expected 1, 0, -1 or nothing"),
        ("path,labels\na.jpg,dog\na.jpg,cat\n", r"a\.jpg stands on line 2 and again on line 3"),
        ("path,labels\nlost.jpg,dog\na.jpg,dog\n", r"lost\.jpg: no such image; 1 of the 2 images that labels\.csv"),
        ('path,labels\na.jpg,"dog\n', "line 2: unexpected end of data"),
        (b"path,labels\na.jpg,\xff\n", "not UTF-8"),
    ],
)
def test_a_malformed_file_says_where(make, text, message):
    with pytest.raises(UserError, match=message):
        read_csv(make(text))


def test_other_names_of_the_columns_and_semicolons(make, caplog):
    file = make("Image;Tags;width\na.jpg;dog|cat;40\n")
    with caplog.at_level(logging.INFO, logger="wsl"):
        assert found(file) == [("a.jpg", ("cat", "dog"), ())]
    assert "the classes are those of the column Tags; not read: width" in caplog.text


def test_roboflows_folders(make, tmp_path):
    """A table a split, whose header has blanks behind the commas."""
    for split, row in (("train", "a.jpg, 1, 0"), ("valid", "b.jpg, 0, 1")):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{row[0]}.jpg").touch()
        (tmp_path / split / "_classes.csv").write_text(f"filename, cat, dog\n{row}\n", encoding="utf-8")
    assert detect_format(tmp_path) == "csv"
    (sample,) = read_csv(tmp_path, "val").samples
    assert (sample.path.name, sample.labels) == ("b.jpg", ("dog",))
    with pytest.raises(UserError, match="no split 'test'; it has: train, valid"):
        read_csv(tmp_path, "test")


def test_a_table_a_split_names_classes_for_all(make):
    folder = make("path,labels\na.jpg,dog\n").parent
    (folder / "labels.csv").rename(folder / "train.csv")
    (folder / "val.csv").write_text("path,labels\nb.jpg,cat\n", encoding="utf-8")
    assert read_csv(folder, "train").classes == read_csv(folder, "val").classes == ("cat", "dog")


CHEXPERT = """Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Fracture,Pneumonia
CheXpert-v1.0-small/train/a.jpg,Female,68,Frontal,AP,1.0,,0.0,-1.0
"""


@pytest.mark.parametrize(
    ("uncertain", "labels", "ignored"),
    [("ignore", (), ("Pneumonia",)), ("absent", (), ()), ("present", ("Pneumonia",), ())],
)
def test_chexpert(tmp_path, uncertain, labels, ignored):
    """What nobody mentioned is absent, -1 as the user says; paths start with the folder of the table."""
    image = tmp_path / "CheXpert-v1.0-small" / "train" / "a.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    (tmp_path / "CheXpert-v1.0-small" / "train.csv").write_text(CHEXPERT, encoding="utf-8")
    data = DataConfig(data=tmp_path / "CheXpert-v1.0-small", uncertain=uncertain)
    samples = read_samples(data, "train")
    assert samples.classes == ("Edema", "Fracture", "Pneumonia")
    assert [(sample.labels, sample.ignored) for sample in samples.samples] == [(labels, ignored)]


def test_no_split_column_and_no_file(make, tmp_path):
    with pytest.raises(UserError, match="has no split 'train'; it has: all"):
        read_csv(make("path,labels\na.jpg,dog\n"), "train")
    with pytest.raises(UserError, match=r"lost\.csv: cannot be read \(.+\); expected path,labels"):
        read_csv(tmp_path / "lost.csv")


names = st.text(alphabet='abc,"é \n', min_size=1, max_size=5).map(str.strip).filter(bool)
tables = st.lists(st.sets(names, max_size=3), min_size=1, max_size=2).filter(any)
tables = tables.filter(lambda rows: not has_lists(set().union(*rows)))


def has_lists(labels) -> bool:
    """Whether a label looks as if it were several."""
    return any("," in label and labels & {part.strip() for part in label.split(",")} for label in labels)


@settings(max_examples=40)
@given(tables)
def test_whatever_the_csv_module_writes_comes_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("csv")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels"])
        for position, labels in enumerate(rows):
            (folder / f"{position}.jpg").touch()
            writer.writerow([f"{position}.jpg", ";".join(sorted(labels))])
    assert [set(sample.labels) for sample in read_csv(folder / "labels.csv").samples] == rows


@pytest.mark.parametrize("cell", ['"dog, cat"', "\"['dog', 'cat']\"", "['dog']"])
def test_labels_in_another_notation_are_refused(make, cell):
    with pytest.raises(UserError, match=r"labels\.csv: line 2: the label .* looks like a list"):
        read_csv(make(f"path,labels\na.jpg,{cell}\nb.jpg,dog\n"))


def test_a_name_may_hold_commas(make):
    assert read_csv(make('path,labels\na.jpg,"tench, Tinca tinca"\nb.jpg,dog\n')).classes == (
        "dog",
        "tench, Tinca tinca",
    )
