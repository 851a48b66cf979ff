"""Which files a command line means, and which paths an annotation may name."""

import sys
import tracemalloc
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.images import find_images
from wsl.images.sources import inside, require_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ["b.TIF", "a.png", "notes.txt", "deep/er/c.jpeg", ".hidden.jpg", ".cache/d.jpg", "deep/odd[1].jpg", "raw"]
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(tree: Path, *sources: str) -> list[str]:
    return [path.relative_to(tree).as_posix() for path in find_images([str(tree / source) for source in sources])]


def test_a_folder_is_searched_to_the_bottom_without_hidden_files(tree):
    assert names(tree, "") == ["a.png", "b.TIF", "deep/er/c.jpeg", "deep/odd[1].jpg"]


def test_a_named_file_counts_whatever_its_suffix(tree):
    assert names(tree, "raw", ".hidden.jpg") == [".hidden.jpg", "raw"]


def test_globs_that_the_shell_left_alone(tree):
    assert names(tree, "*.png") == ["a.png"]
    assert names(tree, "**/*.jp*g") == ["deep/er/c.jpeg", "deep/odd[1].jpg"]
    assert names(tree, "d*") == ["deep/er/c.jpeg", "deep/odd[1].jpg"], "a folder that a glob matches is searched"
    assert names(tree, "**") == names(tree, "")


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree):
    assert names(tree, "deep/odd[1].jpg") == ["deep/odd[1].jpg"]


def test_each_image_comes_once_and_in_order(tree):
    assert names(tree, "deep", "a.png", "", "deep/../a.png") == names(tree, "")


def test_a_long_list_takes_little_more_memory_than_the_text_of_its_paths(tmp_path):
    for number in range(2_000):
        (tmp_path / f"{number:06d}.jpg").touch()
    find_images([str(tmp_path)])
    tracemalloc.start()
    found = find_images([str(tmp_path)])
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 2_000
    assert grown / 2_000 < sys.getsizeof(str(found[0])) + 16
    assert [path.name for path in found[1:3]] == ["000001.jpg", "000002.jpg"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere: no such file or folder; expected an image, a folder, or a glob"),
        ("empty", r"empty: no image in it; expected files with one of the suffixes \.jpg"),
        ("*.xyz", r"\*\.xyz: the pattern matches nothing"),
        ("*.txt", r"\*\.txt: no image in it"),
    ],
)
def test_a_source_without_images_is_an_error(tree, source, message):
    with pytest.raises(UserError, match=message):
        find_images([str(tree / "a.png"), str(tree / source)])


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/passwd", "C:\\x", "c:x", "..\\x", "\\\\host\\x", "", "a\0"]
)
def test_names_that_leave_the_folder_are_refused(name):
    with pytest.raises(UserError, match=r"train\.txt names .* not inside images; expected a relative path"):
        inside(Path("images"), name, "train.txt")


@given(st.text(alphabet="ab./\\: \0", max_size=12))
def test_whatever_is_accepted_stays_inside_on_every_system(name):
    try:
        inside(Path("images"), name, "list")
    except UserError:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        joined = kind("images") / name
        assert joined.parts[0] == "images"
        assert ".." not in joined.parts


def test_missing_images_are_counted(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match=r"b\.jpg: no such image; 2 of the 3 images that val\.txt names are missing"):
        require_files([tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")], "val.txt")
