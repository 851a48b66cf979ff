"""Several score maps an image: of named classes in one file, a file a class, 8-bit numbers and pictures."""

import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsl.errors import UserError
from wsl.formats.predictions.map_names import match_maps
from wsl.formats.predictions.score_maps import read_score_maps
from wsl.samples import Sample, SampleSet

CLASSES = ("cat", "dog", "traffic light")
MAPS = {label: np.full((3, 4), i / 4, np.float32) for i, label in enumerate(CLASSES, 1)}


def sample(name, *labels):
    return Sample(path=f"/images/{name}", labels=labels or CLASSES[:2], size=(40, 30))


def read(folder, *samples, **options):
    warnings, every = Counter(), SampleSet(classes=CLASSES, samples=samples or (sample("a.jpg"),))
    return {one.id: found for found, one in read_score_maps(folder, every, warnings, **options)}, warnings


def stack(folder):
    np.save(folder / "a.npy", np.stack([MAPS[label] for label in reversed(CLASSES)]))
    (folder / "classes.txt").write_text("\n".join(reversed(CLASSES)), encoding="utf-8")


def by_name(folder):
    np.savez(folder / "a.npz", **MAPS)


def compressed(folder):
    np.savez_compressed(folder / "a.jpg.npz", **MAPS)


def named(pattern):
    def write(folder):
        for label, values in MAPS.items():
            path = folder / pattern.format(label=label)
            path.parent.mkdir(exist_ok=True)
            np.save(path, values)

    return write


@pytest.mark.parametrize(
    "write",
    [
        *(stack, by_name, compressed, named("a/{label}.npy"), named("{label}/a.npy"), named("{label}/a.jpg.npy")),
        *(named("a_{label}.npy"), named("a-{label}.npy"), named("a.jpg_{label}.npy")),
    ],
)
def test_the_maps_of_the_labelled_classes_are_read(write, tmp_path):
    write(tmp_path)
    found, warnings = read(tmp_path)
    assert set(found["a"].maps) == {"cat", "dog"}
    for label, values in found["a"].maps.items():
        np.testing.assert_array_equal(values, MAPS[label])
    found, more = read(tmp_path, sample("a.jpg", "traffic light"))
    np.testing.assert_array_equal(found["a"].maps["traffic light"], MAPS["traffic light"])
    assert not warnings
    assert not more


def test_a_labelled_class_without_a_map_is_a_miss(tmp_path):
    np.savez(tmp_path / "a.npz", cat=MAPS["cat"], zebra=MAPS["cat"])
    nobody = Sample(path="/images/c.jpg", size=(40, 30))
    found, warnings = read(tmp_path, sample("a.jpg"), sample("b.jpg"), nobody)
    assert list(found) == ["a", "b", "c"]
    assert list(found["a"].maps) == ["cat"]
    assert found["b"].maps is None
    assert warnings == {
        "classes of an image without a score map: misses": 1,
        "images without a score map: misses": 1,
    }


@pytest.mark.parametrize("depth", [np.uint8, np.bool_])
def test_numbers_of_eight_bits_are_fractions(depth, tmp_path):
    values = np.array([[0, 1], [0, 255]]).astype(depth)
    np.save(tmp_path / "a.npy", values)
    found, _ = read(tmp_path, sample("a.jpg", "dog"))
    expected = values / (255 if depth == np.uint8 else 1)
    np.testing.assert_array_equal(found["a"].maps["dog"], expected.astype(np.float32))


@pytest.mark.parametrize("name", ["a.png", "a/dog.png", "dog/a.png"])
def test_grey_pictures_are_maps_where_there_are_no_arrays(name, tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    (tmp_path / name).parent.mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / name), values)
    found, _ = read(tmp_path, sample("a.jpg", "dog"))
    np.testing.assert_allclose(found["a"].maps["dog"], values / 255, rtol=1e-6)
    np.save(tmp_path / "a.npy", np.eye(2))
    found, warnings = read(tmp_path, sample("a.jpg", "dog"))
    np.testing.assert_array_equal(found["a"].maps["dog"], np.eye(2))
    assert not warnings


def save(values, **files):
    def write(folder):
        np.save(folder / "a.npy", values)
        for name, text in files.items():
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")

    return write


def zipped(name, content):
    def write(folder):
        with zipfile.ZipFile(folder / "a.npz", "w") as archive:
            archive.writestr(name, content)

    return write


def coloured(folder):
    cv2.imwrite(str(folder / "a.png"), np.zeros((3, 4, 3), np.uint8))


def palette(folder):
    Image.fromarray(np.eye(3, dtype=np.uint8)).convert("P").save(folder / "a.png")


def huge(folder):
    with zipfile.ZipFile(folder / "a.npz", "w") as archive, archive.open("cat.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (save(np.zeros((3, 2, 2))), r"maps of 3 classes; expected their names, one per line, in classes\.txt"),
        (save(np.zeros((2, 2, 2)), classes="cat\ndog\nemu"), r"expected a map per class of classes\.txt, 3"),
        (save(np.zeros((2, 2, 2)), classes="cat\ncat"), "names a class twice"),
        (save(np.zeros((2, 2, 2)), classes="Cat\nhorse"), "none of its 2 classes .* 'Cat', did you mean 'cat'"),
        (save(np.zeros((2, 2, 2), np.int64), classes="cat\ndog"), "holds int64"),
        (save(np.full((2, 2, 2), 7.0), classes="cat\ndog"), "the map of 'cat': values from 7 to 7; expected"),
        (zipped("cat.npy", b"nothing"), r"a\.npz: not a \.npz of arrays"),
        (zipped("arr_0.npy", b"nothing"), "none of its 1 classes is in the data set: it has 'arr_0'"),
        (huge, "holds a map of shape .1000000, 1000000.; expected sides of 1 to 8192 cells"),
        (lambda folder: (folder / "a.npz").write_bytes(b"PK\x03\x04"), r"not a \.npz of arrays"),
        (lambda folder: np.savez(folder / "a.npz", cat=np.array([{}], object)), "several arrays or objects"),
        (
            lambda folder: np.savez(folder / "a.npz", cat=np.zeros((2, 2, 2))),
            r"map of 'cat': holds float64 \(2, 2, 2\)",
        ),
        (coloured, "expected a grey score map of 8 bits"),
        (palette, "not grey, or not of 8 bits per pixel; expected a grey score map"),
    ],
)
def test_files_that_are_no_maps_of_classes_are_one_line(write, message, tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@given(content=st.binary(max_size=200))
def test_any_archive_is_maps_or_a_user_s_mistake(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    zipped("cat.npy", b"\x93NUMPY\x01\x00v\x00" + content)(folder)
    with pytest.raises(UserError, match=r"a\.npz"):
        read(folder)


def test_folders_of_classes_that_are_the_images_own(tmp_path):
    """In image folders dog/a.jpg and cat/a.jpg are two images, and dog/a.npy is the map of the first."""
    samples = [
        Sample(path=f"/images/{label}/a.jpg", id=f"{label}/a.jpg", labels=[label], size=(8, 8)) for label in CLASSES[:2]
    ]
    for label in CLASSES[:2]:
        (tmp_path / label).mkdir()
        np.save(tmp_path / label / "a.npy", MAPS[label])
    found, warnings = read(tmp_path, *samples)
    for label in CLASSES[:2]:
        np.testing.assert_array_equal(found[f"{label}/a.jpg"].maps[label], MAPS[label])
    assert not warnings


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a.npy", "a/dog.npy"], "a.npy and a/dog.npy are both the map of"),
        (["a_dog.npy", "dog/a.npy"], "a_dog.npy and dog/a.npy are both the map of 'dog' in 'a'"),
        (["a.npy", "a.npz"], "a.npy and a.npz are both the map of 'a'"),
    ],
)
def test_two_files_of_one_map_are_refused(names, message, tmp_path):
    with pytest.raises(UserError, match=message):
        match_maps(names, SampleSet(classes=CLASSES, samples=[sample("a.jpg")]), tmp_path)
