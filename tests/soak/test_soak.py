"""A part of the soak: every reader, a few kills, full disks, and other runs beside them."""

import importlib.util
import sys
import tempfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of memory and time, and kills, are POSIX's")


@pytest.fixture(scope="module")
def soak():
    """The scripts of this folder."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield lambda name: importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


def test_no_reader_is_forgotten(soak):
    assert soak("targets").missing() == set()


def test_damaged_inputs_end_as_one_line(soak, tmp_path):
    if not Path("/proc/self/statm").is_file():
        pytest.skip("nothing says here how much memory a process has")
    outcomes = soak("fuzz").fuzz(250, 7, tmp_path, models=False)
    assert soak("fuzz").report(outcomes) == 0
    assert sum(one["read"] for one in outcomes.values()) > 50
    assert sum(one["refused"] for one in outcomes.values()) > 50


def test_the_judge_sees_what_is_wrong(soak, tmp_path, monkeypatch):
    fuzz, targets = soak("fuzz"), soak("targets")
    monkeypatch.setattr(fuzz, "SECONDS", 1)

    def endless(_):
        while True:
            pass

    def raising(_):
        raise IndexError("traceback")

    said = [fuzz.judge(targets.Target("a", print, read), tmp_path) for read in (endless, raising, lambda _: None)]
    assert said[0] == "WRONG took more than 1 s"
    assert said[1].startswith("IndexError: 'traceback'")
    assert said[2] == "read"


@pytest.mark.parametrize(("most", "only"), [(2, ("localize", "evaluate", "export voc")), (12, ())])
@pytest.mark.quick("most", [2])
def test_a_disk_that_is_full_at_any_write_leaves_whole_files(soak, tmp_path, most, only):
    lines = soak("disk").full_at_every_write(tmp_path, most=most, only=only)
    assert lines
    assert [line for line in lines if line.wrong] == []


def test_runs_that_are_killed_go_on_to_the_same_files(soak, tmp_path):
    lines = soak("kills").kills(1, 3, tmp_path, commands_tried=("localize", "export voc"))
    assert [line for line in lines if line.wrong] == []


def test_what_goes_on_around_a_command_costs_no_file(soak):
    with tempfile.TemporaryDirectory() as folder:  # which another user can look into
        lines = soak("surroundings").tried(1, 3, Path(folder), only=("localize", "export voc"))
    assert {line.situation for line in lines} == {"read-only", "two writers", "changing images"}
    assert [line for line in lines if line.wrong] == []
