"""Folders as classes, and their splits."""

from pathlib import Path

import pytest

from wsl.data import read_folder
from wsl.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = ["train/dog/a.jpg", "train/dog/deep/b.png", "train/cat/c.jpg", "val/cat/d.jpg", "val/dog/notes.txt"]
    names += ["train/.git/e.jpg", "train/dog/.f.jpg", "train/loose.jpg"]
    # What macOS puts into archives, and the thumbnails of a NAS.
    names += ["train/__MACOSX/._a.jpg", "train/__MACOSX/dog/b.jpg", "train/dog/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def found(root: Path, split: str | None) -> dict[str, tuple[str, ...]]:
    return {s.path.relative_to(root).as_posix(): s.labels for s in read_folder(root, split).samples}


def test_an_image_is_labelled_by_its_folder(root):
    expected = {"train/cat/c.jpg": ("cat",), "train/dog/a.jpg": ("dog",), "train/dog/deep/b.png": ("dog",)}
    assert found(root, "train") == expected
    assert read_folder(root, "train").classes == ("cat", "dog")
    assert read_folder(root, "train").samples[0].boxes is None


def test_a_class_without_images_is_still_a_class(root):
    assert read_folder(root, "val").classes == ("cat", "dog")
    assert found(root, "val") == {"val/cat/d.jpg": ("cat",)}


@pytest.mark.parametrize("split", [None, "all"])
def test_without_a_split_the_folders_are_the_classes(root, split):
    assert found(root / "val", split) == {"cat/d.jpg": ("cat",)}


def test_bad_folders(root, tmp_path):
    with pytest.raises(UserError, match=r"has no split 'vall'; did you mean 'val'\? It has: all, train, val"):
        read_folder(root, "vall")
    with pytest.raises(UserError, match="lost: no such folder"):
        read_folder(root / "lost")
    with pytest.raises(UserError, match="no folders in it; expected a folder of images for each class"):
        read_folder(root / "val" / "dog")
    (tmp_path / "other" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no image in its folders cat; expected class/image\.jpg"):
        read_folder(tmp_path / "other")
