"""wsl-localize --tile with data sets, maps, heatmaps and shards."""

import itertools

import numpy as np
import pytest

from wsl import cli
from wsl.formats import read_localizations
from wsl.formats.localizations import FILE_NAME, partial_file
from wsl.images import read_image


@pytest.fixture(scope="module")
def localized(run, world, tmp_path_factory):
    """The labelled classes of a data set's images in tiles, with maps and heatmaps; the folder and the command."""
    out = tmp_path_factory.mktemp("tiles")
    command = ["--data", str(world), "--weights", str(run), "--device", "cpu", "--labels", "--tile", "64"]
    command += ["--overlap", "32", "--maps"]
    assert cli.localize([*command, "--heatmaps", "--out", str(out)]) == 0
    return out, command


def test_a_data_set_is_cut_and_keeps_its_labels(localized, world):
    out, _ = localized
    names = (world / "ImageSets" / "Main" / "val.txt").read_text(encoding="utf-8").split()
    found = list(read_localizations(out))
    assert [one.id for one in found] == names
    for number, one in enumerate(found):
        assert set(one.maps) == set(one.points) == set([["blue"], ["red"], ["blue", "red"]][number % 3])
        assert one.size == (80 + 8 * (number % 3), 64)
        (shape,) = {score_map.shape for score_map in one.maps.values()}
        assert shape == (8, -(-one.size[0] * 8 // 64))
        assert read_image(out / "heatmaps" / f"{one.id}.png").ndim == 3
    assert len(list((out / "heatmaps").iterdir())) == len(names)


@pytest.mark.parametrize("engine", [["local"], ["array", "--shard", "1/1"]])
def test_shards_hold_the_same(localized, tmp_path, engine):
    pytest.importorskip("pyarrow")
    out, command = localized
    parts = ["--engine", *engine, "--shard-size", "6", "--out", str(tmp_path / "parts")]
    assert cli.localize([*command, *parts]) == 0
    for one, other in itertools.zip_longest(read_localizations(out), read_localizations(tmp_path / "parts")):
        assert (one.id, one.size, one.scores) == (other.id, other.size, other.scores)
        np.testing.assert_array_equal(one.boxes.xyxy, other.boxes.xyxy)
        assert one.maps.keys() == other.maps.keys()
        for label, score_map in one.maps.items():
            np.testing.assert_array_equal(score_map, other.maps[label])


def test_a_stopped_run_goes_on_at_any_image(localized, tmp_path):
    out, command = localized
    flags = [*command, "--out", str(tmp_path)]
    assert cli.localize(flags) == 0
    lines = (tmp_path / FILE_NAME).read_bytes().splitlines(keepends=True)
    assert b"".join(lines) == (out / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).unlink()
    partial_file(tmp_path).write_bytes(b"".join(lines[:5]) + lines[5][:20])
    assert cli.localize([*flags, "--resume"]) == 0
    assert (tmp_path / FILE_NAME).read_bytes() == b"".join(lines)
