"""From an image to its annotation: roots move, other splits and folders do not match, and a doubt is told."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.samples import Sample, SampleIndex, SampleSet


def index(*paths: str, ids: dict[str, str] | None = None) -> SampleIndex:
    samples = [Sample(path=path, id=(ids or {}).get(path, "")) for path in paths]
    return SampleIndex(SampleSet(classes=[], samples=samples))


def matched(samples: SampleIndex, path: str) -> str | None:
    sample = samples.match(path)
    return None if sample is None else sample.path.as_posix()


@pytest.mark.parametrize(
    "path", ["c/val/0.png", "c/./val/0.png", "c/train/../val/0.png", Path("c/val/0.png").absolute()]
)
def test_the_same_file(path):
    assert matched(index("c/val/0.png", "c/val/1.png"), path) == "c/val/0.png"


def test_a_link_to_the_file_is_the_file(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "c.png").symlink_to(tmp_path / "a.png")
    samples = index(f"{tmp_path}/a.png", f"{tmp_path}/b.png")
    assert samples.match(tmp_path / "c.png").path.name == "a.png"
    assert index(f"{tmp_path}/c.png").match(tmp_path / "a.png").path.name == "c.png"


def test_the_disk_is_not_read_for_paths_that_are_equal(monkeypatch):
    samples = index("c/a.png", "c/b.png")
    monkeypatch.setattr(os, "stat", lambda *_, **__: pytest.fail("the disk was read"))
    assert matched(samples, "c/b.png") == "c/b.png"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/old/root/val/camA/0000.png", "new/val/camA/0000.png"),
        ("/old/root/val/camB/0000.png", "new/val/camB/0000.png"),
        ("camB/0000.png", "new/val/camB/0000.png"),
        ("/old/camC/0000.png", None),
        ("/old/train/camA/0000.png", None),
        ("/old/root/val/camA/0001.png", None),
    ],
)
def test_one_file_name_in_two_folders(path, expected):
    assert matched(index("new/val/camA/0000.png", "new/val/camB/0000.png"), path) == expected


def test_a_path_that_fits_two_samples_names_both():
    samples = index("new/val/camA/0000.png", "new/val/camB/0000.png")
    with pytest.raises(
        UserError, match=r"^0000\.png fits .*camA.0000\.png and .*camB.0000\.png equally well: expected"
    ):
        samples.match("0000.png")


@pytest.mark.parametrize(
    ("sample", "path"),
    [
        ("c/val/0001.png", "c/train/0001.png"),  # another split
        ("c/val/0001.png", "train/0001.png"),
        ("/x/c/val/0001.png", "/y/c/train/0001.png"),
        ("/new/coco/val2017/1.jpg", "/old/images/train2017/1.jpg"),
        ("/new/valid/images/1.jpg", "/old/train/images/1.jpg"),  # as Roboflow has them
        ("/x/train/JPEGImages/1.jpg", "/x/trainval/JPEGImages/1.jpg"),
        ("/x/VOC2012/JPEGImages/000001.jpg", "/x/VOC2007/JPEGImages/000001.jpg"),
        ("/x/val2014/1.jpg", "/y/val2017/1.jpg"),
        ("c/monday/1.png", "c/tuesday/1.png"),  # a sibling
        ("monday/1.png", "tuesday/1.png"),
        ("/new/c/monday/1.png", "/old/c/tuesday/1.png"),
        ("/x/images/1.png", "/x/images/night/1.png"),  # below each other
        ("/x/images/night/1.png", "/x/images/1.png"),
    ],
)
def test_the_same_file_name_in_another_place_of_the_set(sample, path):
    assert matched(index(sample), path) is None


@pytest.mark.parametrize(
    ("sample", "path"),
    [
        ("/new/photos/1.png", "/old/photos/1.png"),
        ("/new/VOC2012/JPEGImages/1.jpg", "/home/me/pictures/1.jpg"),  # copied out of the set
        ("/home/bob/voc/JPEGImages/1.jpg", "/home/alice/voc/JPEGImages/1.jpg"),
        ("/data/val2017/1.jpg", "/old/val/1.jpg"),
        ("/data/valid/1.jpg", "/old/val/1.jpg"),
        ("/data/1.jpg", "/photos/1.jpg"),  # folders that a container mounts
        ("/data/test/VOC/JPEGImages/1.jpg", "/old/VOC/JPEGImages/1.jpg"),
        ("c/val/0001.png", "0001.png"),
    ],
)
def test_a_root_that_moved(sample, path):
    assert matched(index(sample), path) == sample


@pytest.mark.parametrize(
    "path", ["x/a.JPG", "x/a.jpg", "/old/x/a.JPG", "/old/x/a.Jpg", "/old/x/a", "a", "x/cafe\u0301.png"]
)
def test_spellings(path):
    samples = index("x/a.jpg", "x/caf\u00e9.png")
    assert matched(samples, path) == ("x/a.jpg" if "a" in Path(path).stem[:1] else "x/caf\u00e9.png")


def test_the_exact_spelling_comes_first():
    samples = index("x/a.jpg", "x/a.JPG", "x/a.png", "x/b.png")
    for name in ("a.jpg", "a.JPG", "a.png"):
        assert matched(samples, f"/old/x/{name}") == f"x/{name}"
    with pytest.raises(UserError, match="equally well"):
        samples.match("/old/x/a")


def test_ids_with_and_without_suffix():
    voc = index("V/JPEGImages/2008.1.jpg", "V/JPEGImages/cars/7.jpg", ids={"V/JPEGImages/cars/7.jpg": "cars/7"})
    for path in ("2008.1", "2008.1.jpg", "/old/2008.1.png"):
        assert matched(voc, path) == "V/JPEGImages/2008.1.jpg"
    for path in ("2008", "2008.jpg", "2008.2", "/old/boats/7.jpg"):
        assert matched(voc, path) is None
    for path in ("cars/7", "cars/7.png", "/old/cars/7.JPG"):
        assert matched(voc, path) == "V/JPEGImages/cars/7.jpg"


def test_ids_of_the_wsol_benchmark():
    samples = index("data/val/0.jpeg", "data/val/1.jpeg", ids={f"data/val/{i}.jpeg": f"val/{i}.jpeg" for i in (0, 1)})
    for path in ("val/0.jpeg", "val/0", "0.jpeg", "/old/val/0.jpeg"):
        assert matched(samples, path) == "data/val/0.jpeg"
    for path in ("train/0.jpeg", "/old/JPEGImages/0.jpeg", "val/2.jpeg", "/old/val/0.png"):
        assert matched(samples, path) is None


def test_file_names_of_coco_with_folders():
    ids = {f"c/val/{name}": name for name in ("camA/0.png", "camB/0.png")}
    samples = index(*ids, ids=ids)
    for name in ids.values():
        assert matched(samples, name) == f"c/val/{name}"
    one = index("c/val/camA/0.png", ids=ids)
    assert matched(one, "/old/camB/0.png") is None, "the id has a folder, and a set of one image shows none"


def test_an_id_that_is_not_the_end_of_the_path():
    samples = index("images/1.png", "images/2.png", ids={"images/1.png": "scans/left", "images/2.png": "7"})
    assert matched(samples, "scans/left") == "images/1.png"
    assert matched(samples, "7") == "images/2.png"
    assert matched(samples, "/old/images/2.png") == "images/2.png"


def test_an_image_of_two_samples_is_refused():
    with pytest.raises(UserError, match=r"a\.png is the image of two samples, 'a' and '2'"):
        index("c/a.png", "c/x/../a.png", ids={"c/x/../a.png": "2"})


parts = st.text(st.sampled_from("abAB01é\u0301"), min_size=1, max_size=3).map(lambda text: f"n{text}")
files = st.tuples(parts, st.sampled_from([".png", ".jpg", ".JPG"])).map("".join)
relative = st.lists(parts, max_size=3).flatmap(lambda folders: files.map(lambda name: "/".join([*folders, name])))
FOLDERS = ["r1", "r2", "r3"]
roots = st.lists(st.sampled_from(FOLDERS), min_size=1, max_size=3, unique=True)
# The same root, or two that share no folder: others look like two places of one set.
moves = roots.map(lambda root: (root, root)) | st.tuples(st.permutations(FOLDERS), st.sampled_from([1, 2])).map(
    lambda drawn: (drawn[0][: drawn[1]], drawn[0][drawn[1] :])
)


@given(names=st.lists(relative, min_size=1, max_size=12, unique=True), move=moves)
def test_every_sample_matches_itself_under_any_root_and_never_another(names, move):
    old, new = move
    samples = index(*("/".join(["", *old, name]) for name in names))
    for name in names:
        assert matched(samples, "/".join(["", *new, name])) == "/".join(["", *old, name])


@given(names=st.lists(relative, min_size=2, max_size=12, unique=True), root=roots, data=st.data())
def test_an_image_that_is_not_in_the_set_matches_nothing(names, root, data):
    """An image at the top tells which folders belong to the set; another spelling of a name is the name."""

    def stem(name: str) -> str:
        return unicodedata.normalize("NFC", name.casefold()).rsplit(".", 1)[0]

    name = data.draw(st.sampled_from(names))
    top = "/".join(["", *root])
    samples = index(f"{top}/top.png", *(f"{top}/{other}" for other in names if stem(other) != stem(name)))
    assert matched(samples, f"{top}/{name}") is None


def test_a_class_is_absent_present_or_unknown_and_only_one_of_them():
    with pytest.raises(UserError, match=r"a\.jpg: 'dog' is absent, and present or ignored"):
        Sample(path="a.jpg", labels=["dog"], negatives=["cat", "dog"])
    with pytest.raises(UserError, match=r"a\.jpg: unknown class 'emu'"):
        SampleSet(classes=["cat", "dog"], samples=[Sample(path="a.jpg", labels=["dog"], negatives=["emu"])])
