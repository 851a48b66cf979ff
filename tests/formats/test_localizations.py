"""What was found survives its file; files of strangers are read with care."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.formats import LocalizationWriter, MapStore, read_localizations
from wsl.results import Localization

names = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() and "\x00" not in text)
coordinate = st.floats(0, 1e4, width=32)


@st.composite
def localizations(draw):
    corners = draw(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=4))
    labels = [draw(names) for _ in corners]
    return Localization(
        path=Path(draw(st.from_regex(r"[a-z0-9 äé'\"]{1,12}\.jpg", fullmatch=True))),
        size=draw(st.tuples(st.integers(1, 9999), st.integers(1, 9999))),
        scores=draw(st.dictionaries(names, st.floats(0, 1), max_size=5)),
        boxes=Boxes(
            xyxy=[[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners],
            labels=labels,
            scores=[draw(st.floats(0, 1, width=32)) for _ in corners],
        ),
        points=dict.fromkeys(labels, (1.5, 2.25)),
    )


@given(found=localizations())
def test_a_line_of_json_gives_back_what_was_found(found):
    again = Localization.from_json(json.loads(json.dumps(found.to_json())))
    assert (again.path, again.size, again.boxes.labels) == (found.path, found.size, found.boxes.labels)
    assert list(again.scores) == list(found.scores)
    for name, score in found.scores.items():
        assert math.isclose(again.scores[name], score, rel_tol=1e-8, abs_tol=1e-12)
    np.testing.assert_allclose(again.boxes.xyxy, found.boxes.xyxy, atol=0.006)
    np.testing.assert_allclose(again.boxes.scores, found.boxes.scores, rtol=1e-6)
    assert again.points == found.points


@given(
    record=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["image", "size", "scores", "boxes", "x"]), inner)
        ),
    )
)
def test_any_other_json_is_a_user_s_mistake(record):
    with pytest.raises(UserError, match=r"not a localization|box|size"):
        Localization.from_json(record)


def found_with_maps(name="a.jpg", side=3):
    maps = {
        "dog": np.arange(side * side, dtype=np.float32).reshape(side, side),
        "cat/π": np.ones((side, side), np.float32),
    }
    return Localization(path=Path(name), size=(8, 6), scores={"dog": 0.5}, boxes=Boxes.empty(), maps=maps)


def write(folder, *found):
    store = MapStore(folder)
    with LocalizationWriter(folder) as writer:
        for one in found:
            writer.write(store.write(one))


def test_an_interrupted_run_keeps_the_old_file_and_its_own_part(tmp_path):
    write(tmp_path, found_with_maps("old.jpg"))

    def interrupted():
        with LocalizationWriter(tmp_path) as writer:
            writer.write(found_with_maps("new.jpg"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [found.id for found in read_localizations(tmp_path)] == ["old"]
    assert [found.id for found in read_localizations(tmp_path / "localizations.jsonl.partial")] == ["new"]


def test_only_a_partial_file_is_pointed_out(tmp_path):
    (tmp_path / "localizations.jsonl.partial").write_text("")
    with pytest.raises(UserError, match="interrupted run"):
        next(read_localizations(tmp_path))


def test_a_file_cut_off_names_the_line(tmp_path):
    write(tmp_path, found_with_maps("a.jpg"), found_with_maps("b.jpg"))
    file = tmp_path / "localizations.jsonl"
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(UserError, match=r"localizations\.jsonl:2: not JSON"):
        list(read_localizations(tmp_path))


def test_a_file_name_that_is_not_utf_8_comes_back(tmp_path):
    name = "caf\udce9.png"  # as Python has the bytes of Latin-1
    found = Localization(path=name, size=(4, 2), scores={"犬": 0.5}, boxes=Boxes.empty())
    with LocalizationWriter(tmp_path) as writer:
        writer.write(found)
    (again,) = read_localizations(tmp_path)
    assert (again.path, again.scores) == (Path(name), {"犬": 0.5})
