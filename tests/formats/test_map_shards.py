"""Maps survive their shards, whatever happens to a run, and nothing outside the results folder is opened."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.formats import LocalizationWriter, MapStore, read_localizations
from wsl.formats.map_shards import MapShelf
from wsl.results import Localization
from wsl.stored_maps import StoredMaps


def found_with_maps(name="a.jpg", side=3):
    maps = {
        "dog": np.arange(side * side, dtype=np.float32).reshape(side, side),
        "cat/π": np.ones((side, side), np.float32),
    }
    return Localization(path=Path(name), size=(8, 6), scores={"dog": 0.5}, boxes=Boxes.empty(), maps=maps)


def write(folder, *found, **options):
    store = MapStore(folder, **options)
    with LocalizationWriter(folder) as writer:
        for one in found:
            writer.write(store.write(one))
    store.finish()


def shards(folder):
    return sorted(path.name for path in (folder / "maps").iterdir())


def test_maps_come_back_with_their_labels(tmp_path):
    write(tmp_path, found_with_maps())
    (again,) = read_localizations(tmp_path)
    assert list(again.maps) == ["dog", "cat/π"]
    np.testing.assert_array_equal(again.maps["dog"], found_with_maps().maps["dog"])


def test_images_of_one_name_keep_maps_of_their_own(tmp_path):
    write(tmp_path, found_with_maps("x/a.jpg", 3), found_with_maps("y/a.jpg", 4))
    assert [found.maps["dog"].shape for found in read_localizations(tmp_path)] == [(3, 3), (4, 4)]


def test_maps_beyond_float16_are_clipped_not_infinite(tmp_path):
    huge = found_with_maps()
    write(
        tmp_path,
        Localization(path=huge.path, size=huge.size, scores={}, boxes=huge.boxes, maps={"dog": np.full((2, 2), 1e9)}),
    )
    (again,) = read_localizations(tmp_path)
    assert np.isfinite(again.maps["dog"]).all()


@given(
    stacks=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)).flatmap(
            lambda shape: arrays(np.float16, shape, elements=st.floats(-60_000, 60_000, width=16))
        ),
        max_size=8,
    ),
    shard_bytes=st.integers(1, 200),
)
def test_any_maps_come_back_from_shards_of_any_size(tmp_path_factory, stacks, shard_bytes):
    """A map that is larger than a shard gets one for itself."""
    folder = tmp_path_factory.mktemp("shards")
    labelled = [{f"class {k}": one.astype(np.float32) for k, one in enumerate(stack)} for stack in stacks]
    write(
        folder,
        *(
            Localization(path=f"{i}.jpg", size=(9, 9), scores={}, boxes=Boxes.empty(), maps=maps)
            for i, maps in enumerate(labelled)
        ),
        shard_bytes=shard_bytes,
    )
    for found, maps in zip(read_localizations(folder), labelled, strict=True):
        assert list(found.maps) == list(maps)
        for label, score_map in maps.items():
            np.testing.assert_array_equal(found.maps[label], score_map)
    for name in shards(folder) if stacks else ():
        whole = np.load(folder / "maps" / name, allow_pickle=False)
        assert whole.dtype == np.float16
        assert whole.nbytes <= max(shard_bytes, *(stack.nbytes for stack in stacks))


def test_one_file_of_many_maps_takes_a_hundredth_of_a_file_each(tmp_path):
    """A class map of 14x14 against the benchmark's 224x224 doubles: 401,536 bytes, 128 of them a header."""
    write(tmp_path / "ours", *(found_with_maps(f"{i}.jpg", 14) for i in range(100)))
    np.save(tmp_path / "theirs.npy", np.zeros((224, 224)))
    assert shards(tmp_path / "ours") == ["shard-0000.npy"]
    ours = (tmp_path / "ours" / "maps" / "shard-0000.npy").stat().st_size / 200
    assert (tmp_path / "theirs.npy").stat().st_size / ours > 1000


def test_a_second_run_replaces_the_shards_of_the_first(tmp_path):
    write(tmp_path, found_with_maps("old.jpg"))
    (tmp_path / "maps" / "notes.npy").touch()
    write(tmp_path, found_with_maps("new.jpg", 4))
    assert shards(tmp_path) == ["notes.npy", "shard-0001.npy"]
    assert [found.maps["dog"].shape for found in read_localizations(tmp_path)] == [(4, 4)]


def test_an_interrupted_run_leaves_old_and_new_maps_readable(tmp_path):
    write(tmp_path, found_with_maps("old.jpg"))
    store = MapStore(tmp_path)

    def interrupted():
        with LocalizationWriter(tmp_path) as writer:
            writer.write(store.write(found_with_maps("new.jpg", 5)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (old,) = read_localizations(tmp_path)
    (new,) = read_localizations(tmp_path / "localizations.jsonl.partial")
    assert (old.maps["dog"].shape, new.maps["dog"].shape) == ((3, 3), (5, 5))


def test_maps_that_a_killed_run_wrote_but_did_not_count_are_read(tmp_path):
    write(tmp_path, found_with_maps("a.jpg"), found_with_maps("b.jpg"))
    shard = tmp_path / "maps" / "shard-0000.npy"
    whole = shard.read_bytes()
    write(tmp_path / "short", found_with_maps("a.jpg"))
    header = (tmp_path / "short" / "maps" / "shard-0000.npy").read_bytes()[:128]
    shard.write_bytes(header + whole[128:])
    assert len(np.load(shard)) == 18
    assert len([found.maps for found in read_localizations(tmp_path)]) == 2
    shard.write_bytes(whole[:-2])
    with pytest.raises(UserError, match=r"jsonl:2: .*has 35 values, expected 18 from 18: .*--maps again"):
        list(read_localizations(tmp_path))


def test_maps_of_older_runs_a_file_an_image(tmp_path):
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "a.npy", np.ones((1, 2, 2), np.float16))
    record = {**found_with_maps().to_json(), "maps": {"file": "maps/a.npy", "labels": ["dog"]}}
    (tmp_path / "localizations.jsonl").write_text(json.dumps(record), encoding="utf-8")
    (found,) = read_localizations(tmp_path)
    assert found.maps["dog"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    "place",
    [
        {"shape": [0, 3]},
        {"shape": [3]},
        {"shape": [3, 3], "offset": -1},
        {"shape": [3, 3], "offset": "far"},
        {"labels": None},
    ],
)
def test_an_index_out_of_range_is_a_malformed_record(place):
    record = {**found_with_maps().to_json(), "maps": {"file": "maps/shard-0000.npy", "labels": ["dog"], **place}}
    with pytest.raises(UserError, match=r"not a localization record|maps: height is 0"):
        Localization.from_json(record)


@pytest.mark.parametrize("values", [np.zeros(9, np.float32), np.zeros((3, 3), np.float16)], ids=["float32", "2-d"])
def test_a_shard_of_another_kind_is_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(UserError, match="expected a flat array of float16"):
        MapShelf(tmp_path).read(StoredMaps(file="a.npy", labels=("dog",), shape=(3, 3)))


@pytest.mark.parametrize("place", ["../outside.npy", "/etc/passwd", "maps/../../outside.npy"])
def test_a_map_file_outside_the_folder_is_refused(tmp_path, place):
    np.save(tmp_path / "outside.npy", np.zeros((1, 2, 2), np.float32))
    folder = tmp_path / "found"
    folder.mkdir()
    record = {**found_with_maps().to_json(), "maps": {"file": place, "labels": ["dog"]}}
    (folder / "localizations.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="outside the results folder"):
        next(read_localizations(folder))


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2), np.float32), np.zeros((1, 2, 2), np.int64), np.array([[["x"]]], dtype=object)],
    ids=["two axes", "integers", "pickled objects"],
)
def test_a_map_file_of_another_kind_is_refused(tmp_path, array):
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "a.npy", array, allow_pickle=True)
    record = {**found_with_maps().to_json(), "maps": {"file": "maps/a.npy", "labels": ["dog"]}}
    (tmp_path / "localizations.jsonl").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"maps/a\.npy"):
        next(read_localizations(tmp_path))
