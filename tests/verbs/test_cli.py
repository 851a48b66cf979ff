"""The commands as a user types them: help, one clear line for a mistake, exit codes."""

import json
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import heads
from wsl import cli
from wsl.formats import LocalizationWriter

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.parametrize("verb", ["train", "localize", "evaluate", "compare", "visualize", "export", "info", "doctor"])
def test_tools_show_examples_first(verb, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{verb}.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(TOOLS / f"{verb}.py"), run_name="__main__")
    assert not left.value.code
    text = capsys.readouterr().out
    assert f"wsl-{verb} " in text
    assert text.index("Examples") < re.search(r"^\W*options\W*$", text, re.MULTILINE).start()
    assert len((TOOLS / f"{verb}.py").read_text(encoding="utf-8").splitlines()) < 20


def test_training_s_help_names_all_there_is_in_heads(capsys):
    with pytest.raises(SystemExit):
        cli.train(["--help"])
    text = capsys.readouterr().out
    flags = dict(re.findall(r"^\W*--([a-z-]+) (.*?)(?=^\W*--|\Z)", text, re.DOTALL | re.MULTILINE))
    for flag, names in {
        "pooling": {*heads.list_poolings(), *heads.list_encoders()},
        "neck": set(heads.list_necks()),
        "downsampling": {name for name in heads.list_downsamplings() if not name.endswith(("1d", "3d"))},
    }.items():
        assert names <= set(re.findall(r"[a-z_0-9]+", flags[flag]))


def test_the_whole_path_from_the_command_line(world, tmp_path, capsys):
    """Train, localize, evaluate, visualize, each with the flags a user would give."""
    run, found = str(tmp_path / "run"), str(tmp_path / "found")
    data = ["--data", str(world)]
    flags = ["--backbone", "tinynet", "--weights", "none", "--image-size", "64", "--epochs", "1", "--workers", "0"]
    assert cli.train([*data, "--out", run, *flags, "--pooling", "weldon(k_max=0.2, k_min=0.2)"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    photos = str(world / "JPEGImages" / "val0*.png")
    assert cli.localize([photos, "--weights", run, "--out", found, "--top-k", "None", "--maps"]) == 0
    assert "20 boxes in 10 images" in capsys.readouterr().out
    assert cli.evaluate(["--predictions", found, *data, "--out", found]) == 0
    assert "| pointing" in capsys.readouterr().out
    assert cli.visualize(["--predictions", found, *data, "--out", str(tmp_path / "pictures")]) == 0
    assert (tmp_path / "pictures" / "sheet-001.png").is_file()


def test_annotations_to_draw_are_described_as_those_to_evaluate(world, run, photos, tmp_path, capsys):
    found, out = str(tmp_path / "found"), str(tmp_path / "out")
    assert cli.localize([str(photos / "val00.png"), "--weights", str(run), "--out", found]) == 0
    flags = ["--predictions", found, "--out", out, "--no-sheet"]
    assert cli.visualize([*flags, "--data", str(world), "--format", "voc", "--split", "val"]) == 0
    assert cli.visualize(flags) == 0
    capsys.readouterr()
    assert cli.visualize([*flags, "--format", "voc"]) == 2
    assert "--split-seed describe --data: expected it too" in capsys.readouterr().err
    assert cli.visualize([*flags, "--data", str(world), "--format", "coco"]) == 2
    assert "no COCO annotations" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["nowhere.jpg", "--weights", "resnet50"], "nowhere.jpg"),
        (["PHOTOS", "--weights", "resnet5O"], "no model 'resnet5O'"),
        (["PHOTOS", "--weights", "RUN", "--classes", "green"], "no class 'green'"),
        (["PHOTOS", "--weights", "RUN", "--threshold", "1.5"], "threshold is 1.5"),
        (["PHOTOS", "--weights", "RUN", "--treshold", "0.5"], "--threshold"),
        (["--weights", "RUN"], "no image given"),
        (["PHOTOS"], "--weights"),
    ],
)
def test_a_user_s_mistake_is_told_in_a_line_and_exits_with_2(flags, message, run, photos, tmp_path, capsys):
    places = {"PHOTOS": str(photos), "RUN": str(run)}
    assert cli.localize([*(places.get(flag, flag) for flag in flags), "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert message in shown.err.splitlines()[-1]
    assert "Traceback" not in shown.out + shown.err


def test_a_full_disk_fails_with_1_and_keeps_what_was_there(run, photos, tmp_path, capsys, monkeypatch):
    assert cli.localize([str(photos / "val00.png"), "--weights", str(run), "--out", str(tmp_path)]) == 0
    before = (tmp_path / "localizations.jsonl").read_bytes()

    def full(self, found):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalizationWriter, "write", full)
    assert cli.localize([str(photos), "--weights", str(run), "--out", str(tmp_path), "--overwrite"]) == 1
    assert "no space left on the disk" in capsys.readouterr().err
    assert (tmp_path / "localizations.jsonl").read_bytes() == before


# A tool that waits for a signal when it has written its second image.
WAITING = """
import runpy, sys
from wsl.formats import LocalizationWriter
write, seen = LocalizationWriter.write, []
def waiting(self, found):
    write(self, found)
    seen.append(found)
    if len(seen) == 2:
        print("written", flush=True)
        sys.stdin.readline()
LocalizationWriter.write = waiting
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to another process")
def test_ctrl_c_in_the_middle_keeps_what_was_found(run, photos, tmp_path, heed_ctrl_c):
    flags = [str(photos), "--weights", str(run), "--out", str(tmp_path)]
    command = [sys.executable, "-c", WAITING, str(TOOLS / "localize.py"), *flags]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, preexec_fn=heed_ctrl_c) as process:
        assert process.stdout.readline() == "written\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.strip().splitlines() == ["stopped: what was finished is kept"]
    partial = tmp_path / "localizations.jsonl.partial"
    assert len(partial.read_text(encoding="utf-8").splitlines()) == 2
    assert not (tmp_path / "localizations.jsonl").exists()


def test_larger_pictures_are_taken_when_asked(run, tmp_path, capsys, caplog):
    Image.new("1", (60, 50)).save(tmp_path / "a.png")
    flags = [str(tmp_path / "a.png"), "--weights", str(run), "--out", str(tmp_path / "found"), "--device", "cpu"]
    assert cli.localize([*flags, "--max-pixels", "2999"]) == 1
    assert "60 x 50 pixels by its header, expected at most 2,999 in all" in caplog.text
    assert cli.localize([*flags, "--max-pixels", "3000"]) == 0
    assert cli.localize([*flags, "--max-pixels", "0"]) == 2
    assert "max pixels is 0" in capsys.readouterr().err


def test_where_an_error_came_from_is_told_when_asked(tmp_path, capsys):
    (tmp_path / "a.json").write_text('{"images": 3}', encoding="utf-8")
    flags = [str(tmp_path / "a.json"), "--source-format", "coco", "--format", "csv", "--out", str(tmp_path / "out")]
    assert cli.export(flags) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert cli.export([*flags, "--verbose"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "coco.py" in told
    assert told.splitlines()[-1].startswith("error: ")


def test_names_cannot_command_a_terminal_and_need_not_be_text(tmp_path, capsys):
    name = "a\x1b[2J\nb.json" if sys.platform != "win32" else "b.json"
    assert (
        cli.export([str(tmp_path / name), "--source-format", "coco", "--format", "csv", "--out", str(tmp_path / "o")])
        == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    record = {
        "image": "a.jpg",
        "size": [8, 8],
        "scores": {},
        "boxes": [{"label": "\ud800", "score": 1, "xyxy": [1, 2, 3, 4]}],
    }
    (tmp_path / "localizations.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    assert cli.export([str(tmp_path), "--format", "coco", "--out", str(tmp_path / "o")]) == 2
    assert "cannot be written as text: rename the file or the class" in capsys.readouterr().err
