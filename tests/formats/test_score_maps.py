"""Folders of .npy score maps: found by the image's id, opened with care, and every oddity counted or refused."""

import os
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsl.errors import UserError
from wsl.formats.predictions.score_maps import read_score_maps
from wsl.samples import Sample, SampleSet


def sample(name, *labels, size=(40, 30)):
    return Sample(path=f"images/{name}", id=name, labels=labels or ("dog",), size=size)


def save(folder, name, values):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)
    return path


def read(folder, *samples, **options):
    warnings, every = Counter(), SampleSet(classes=("cat", "dog"), samples=samples)
    return {one.id: found for found, one in read_score_maps(folder, every, warnings, **options)}, warnings


@pytest.mark.parametrize("name", ["val/0.jpeg.npy", "val/0.npy"])
def test_the_suffix_may_be_kept_or_replaced(tmp_path, name):
    save(tmp_path, name, np.eye(3))
    found, warnings = read(tmp_path, sample("val/0.jpeg"))
    np.testing.assert_array_equal(found["val/0.jpeg"].maps["dog"], np.eye(3))
    assert found["val/0.jpeg"].size == (40, 30)
    assert not warnings


def test_an_id_without_a_suffix_may_hold_dots(tmp_path):
    save(tmp_path, "2008.1.npy", np.eye(2))
    save(tmp_path, "2008.npy", np.zeros((2, 2)))
    voc = Sample(path="JPEGImages/2008.1.jpg", id="2008.1", labels=("dog",), size=(5, 5))
    found, warnings = read(tmp_path, voc)
    assert found["2008.1"].maps["dog"].any()
    assert warnings == {"score maps that belong to no image of the split: left out": 1}


@given(values=arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(0, 1)))
def test_doubles_in_the_range_come_back_exactly(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("maps")
    save(folder, "a.jpg.npy", np.asfortranarray(values))
    found, _ = read(folder, sample("a.jpg"))
    np.testing.assert_array_equal(found["a.jpg"].maps["dog"], values)


def test_missing_extra_and_odd_maps_are_counted(tmp_path):
    save(tmp_path, "a.npy", np.zeros((224, 224)))
    save(tmp_path, "b.npy", np.zeros((14, 14)))
    save(tmp_path, "c.npy", np.array([[0, np.nan]]))
    save(tmp_path, "d.npy", np.array([[0, 1.0]]))
    save(tmp_path, "other/e.npy", np.array([[0, np.inf]]))
    samples = [sample("a.jpg"), sample("b.jpg"), sample("c.jpg"), sample("d.jpg", "cat", "dog"), sample("missing.jpg")]
    found, warnings = read(tmp_path, *samples, side=224)
    assert list(found) == ["a.jpg", "b.jpg", "c.jpg", "missing.jpg"]
    assert found["missing.jpg"].maps is None
    assert warnings == {
        "images without a score map: misses": 1,
        "score maps that belong to no image of the split: left out": 1,
        "score maps of another size than 224x224: resampled": 2,
        "score maps with a NaN or an infinity: misses": 1,
        "images without labels or with several, and only one map: left out": 1,
    }


def test_an_id_that_climbs_out_of_the_folder_finds_nothing(tmp_path):
    save(tmp_path, "x.npy", np.eye(2))
    save(tmp_path, "maps/a.npy", np.eye(2))
    found, _ = read(tmp_path / "maps", sample("../x.jpg"), sample("../../etc/x"), sample("a.jpg"))
    assert [name for name, one in found.items() if one.maps] == ["a.jpg"]


class Evil:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2, 2)), r"holds float64 \(2, 2, 2\)"),
        (np.zeros(4), r"holds float64 \(4,\)"),
        (np.zeros((2, 2), np.int32), "holds int32 .*; expected floats in .* or 8-bit integers"),
        (np.zeros((0, 2)), "expected sides of 1 to 8192 cells"),
        (np.array([[0, 1.5]]), "values from 0 to 1.5; expected"),
        (np.array([[-3.0, 0.5]]), "values from -3 to 0.5"),
        (np.array([[Evil()]], dtype=object), "holds several arrays or objects"),
    ],
)
def test_maps_of_another_kind_are_refused_in_one_line(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, sample("a.jpg"))
    assert "a.npy" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"), [((10**9, 10**9), "expected sides of 1 to 8192 cells"), ((8000, 8000), "the file ends early")]
)
def test_a_header_that_promises_more_than_the_file_holds_asks_for_no_memory(tmp_path, shape, message):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with pytest.raises(UserError, match=message):
        read(tmp_path, sample("a.jpg"))


@given(content=st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: b"\x93NUMPY\x01\x00v\x00" + tail))
def test_any_bytes_are_a_map_or_a_user_s_mistake(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("maps")
    (folder / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npy"):
        read(folder, sample("a.jpg"))


@pytest.mark.parametrize(
    ("files", "samples", "message"),
    [
        (["a.npy", "a.jpg.npy"], ["a.jpg"], "are both the map of 'a.jpg'"),
        (["a.npy"], ["a.jpg", "a.png"], "a fits .*a.jpg and .*a.png equally well"),
        (["b.npy"], ["a.jpg"], "none of its 1 score maps belongs to an image of the split; expected a.jpg.npy"),
        ([], ["a.jpg"], "none of its 0 score maps"),
    ],
)
def test_names_that_leave_a_doubt_are_refused(tmp_path, files, samples, message):
    for name in files:
        save(tmp_path, name, np.eye(2))
    with pytest.raises(UserError, match=message):
        read(tmp_path, *map(sample, samples))


def test_many_maps_are_never_held(tmp_path):
    """300 maps of 400 kB under different names: one of them is in memory at a time."""
    first = save(tmp_path, "0.npy", np.zeros((224, 224)))
    for i in range(1, 300):
        os.link(first, tmp_path / f"{i}.npy")
    samples = SampleSet(classes=["dog"], samples=[sample(f"{i}.jpg") for i in range(300)])
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_score_maps(tmp_path, samples, Counter()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 300
    assert peak < 10 * 224 * 224 * 8


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read(tmp_path / "nowhere", sample("a.jpg"))
    save(tmp_path, "a.npy", np.eye(2))
    with pytest.raises(UserError, match="its size is unknown"):
        read(tmp_path, sample("a.jpg", size=None))
