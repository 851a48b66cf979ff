"""The command line as somebody meets it who knows other tools: no flags, their flags, files of settings."""

import json
import re
from pathlib import Path

import pytest

from wsl import cli
from wsl.cli import examples
from wsl.cli.defaults import train_defaults
from wsl.cli.flag_checks import check_flags, flags_of
from wsl.cli.flags import CompareFlags, ExportFlags, LocalizeFlags, TrainFlags, VisualizeFlags
from wsl.config import EvaluateConfig
from wsl.errors import UserError
from wsl.files import write_text
from wsl.training.run_check import recorded
from wsl.version import __version__

KINDS = {
    "train": TrainFlags,
    "localize": LocalizeFlags,
    "evaluate": EvaluateConfig,
    "compare": CompareFlags,
    "visualize": VisualizeFlags,
    "export": ExportFlags,
}
COMMANDS = [*KINDS, "info", "doctor", "demo", "label_studio"]


@pytest.mark.parametrize("name", [*KINDS, "doctor", "label_studio"])
def test_a_command_without_flags_says_what_to_do_next(name, capsys):
    assert getattr(cli, name)([]) == 2
    told = capsys.readouterr()
    lines = told.err.splitlines()
    command = f"wsl-{name.replace('_', '-')}"
    assert (told.out, len(lines)) == ("", 3)
    assert lines[0].startswith(f"{command} needs ")
    assert lines[1].startswith(f"  {command} ")
    assert lines[2].endswith(f"{command} --help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_its_version(name, capsys):
    assert getattr(cli, name)(["--version"]) == 0
    assert capsys.readouterr().out == f"wsl-toolkit {__version__}\n"


@pytest.mark.parametrize("name", KINDS)
def test_the_flags_that_are_listed_first_are_there(name):
    text = getattr(examples, name.upper())
    listed = re.findall(r"^  --([a-z-]+)", text.partition("Most used:")[2].partition("Examples:")[0], re.MULTILINE)
    assert len(listed) >= 5
    assert {flag.replace("-", "_") for flag in listed} <= set(flags_of(KINDS[name]))


@pytest.mark.parametrize(
    ("name", "flag", "ours"),
    [
        ("localize", "--conf", "it is called --score-threshold here"),
        ("localize", "--imgsz=640", "unknown flag --imgsz: it is called --image-size here"),
        ("localize", "--source", "images and folders are given without a flag here"),
        ("localize", "--project", "it is called --out here"),
        ("localize", "--target-layers", "it is called --layers here"),
        ("train", "--lr0", "it is called --lr here"),
        ("train", "--arch", "it is called --backbone here"),
        ("export", "--conf", "it is called --min-score here"),
        ("visualize", "--source", "it is called --predictions here"),
        ("info", "--weights", "a model is given without a flag here"),
        ("demo", "--weights", "a model is given without a flag here"),
    ],
)
def test_flags_of_other_tools_are_translated(name, flag, ours, capsys):
    assert getattr(cli, name)([flag, "1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert ours in told


@pytest.mark.parametrize("name", KINDS)
def test_every_flag_of_ours_passes_with_a_value_that_it_takes(name):
    for flag, takes in flags_of(KINDS[name]).items():
        value = takes.choices[0] if takes.choices else "1"
        written = f"--no-{flag}" if takes.on else f"--{flag.replace('_', '-')}"
        if not takes.positional:
            check_flags([written] if takes.is_switch else [written, value], KINDS[name], required=False)
            check_flags([written] if takes.is_switch else [f"{written}={value}"], KINDS[name], required=False)


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("localize", ["a.jpg", "--weights", "x", "--out", "y", "--cam", "gradcma"], "did you mean 'gradcam'?"),
        ("localize", ["--box-rule=larges"], "unknown value of --box-rule 'larges': did you mean 'largest'?"),
        ("export", ["found", "--format", "yollo"], "unknown value of --format 'yollo': did you mean 'yolo'?"),
        ("evaluate", ["--aligned", "true"], "unknown value of --aligned 'true': did you mean 'True'?"),
        ("train", ["--frezee-backbone"], "unknown flag --frezee-backbone: did you mean --freeze-backbone?"),
        ("train", ["--epochs", "ten"], "--epochs is 'ten', expected a whole number"),
        ("train", ["--patience", "--lr", "1"], "--patience has no value: expected a whole number or None"),
        ("train", ["--out", ""], "--out has an empty value (an unset variable of the shell?): expected a path"),
        ("train", ["--weights="], "--weights has an empty value (an unset variable of the shell?): expected a text"),
        (
            "localize",
            ["", "--weights", "x"],
            "an argument is empty (an unset variable of the shell?): expected",
        ),
        ("train", ["photos/"], "unexpected 'photos/': expected a flag before it, as in wsl-train --data"),
        ("train", ["--data", "x", "--out", "y", "--mean", "1", "2"], "--mean"),
        ("localize", ["a.jpg", "--weights", "x"], "no --out given: expected it, as in wsl-localize "),
        ("localize", ["--classes", "-c"], "a value of --classes that begins with a dash comes first, as --classes=-c"),
        ("localize", ["--classes", "cat", "-dog"], "unknown flag -dog: --help lists all flags; a value of --classes"),
        ("localize", ["--classes=-dog", "-qq"], "unknown flag -qq: --help lists all flags; a value of --classes"),
        ("localize", ["--maps", "-qq"], "unknown flag -qq: --help lists all flags"),
        (
            "localize",
            ["a.jpg", "--weights", "x", "--out", "y", "--score-threshold", "-inf"],
            "score threshold is -inf, ",
        ),
        ("localize", ["--detector"], "unknown flag --detector: it is on unless --no-detector is given"),
        ("localize", ["--no-maps"], "unknown flag --no-maps: it is off unless --maps is given"),
        ("doctor", ["--weights", "x"], "no image given: expected it, as in wsl-doctor photo.jpg"),
        ("info", ["a", "b"], "unexpected 'b': expected a flag before it"),
        ("demo", ["--port", "99999999"], "port is 99999999, expected 1 to 65535"),
    ],
)
def test_a_mistyped_argument_is_told_in_one_line(name, args, told, capsys):
    assert getattr(cli, name)(args) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert told in shown.err
    assert shown.err[:-1].isprintable()


def flags(world, out, *more):
    plain = ["--backbone", "tinynet", "--weights", "none", "--image-size", "32", "--device", "cpu", "--workers", "0"]
    return ["--data", str(world), "--out", str(out), *plain, *more]


def test_settings_come_from_a_file_and_flags_before_them(world, tmp_path, capsys):
    first = tmp_path / "first"
    assert (
        cli.train(
            flags(world, first, "--epochs", "1", "--pooling", "lse(beta=2)", "--lr", "0.002", "--freeze-backbone")
        )
        == 0
    )
    best, _, by_class = capsys.readouterr().out.splitlines()
    assert best.startswith("best epoch 1: mAP")
    assert "| " in Path(by_class.removeprefix("by class: ")).read_text(encoding="utf-8")
    other = ["--config", str(first / "config.json"), "--out", str(tmp_path / "second"), "--lr", "0.003"]
    assert cli.train([*other, "--val-split", "None", "--no-freeze-backbone"]) == 0
    assert capsys.readouterr().out.startswith("trained, not validated\n")
    one, two = recorded(first, ""), recorded(tmp_path / "second", "")
    assert (two.model, two.data, two.preprocessing) == (one.model, one.data, one.preprocessing)
    assert (one.optim.freeze_backbone, two.optim.freeze_backbone) == (True, False)
    assert (two.optim.lr, two.optim.epochs, two.val_split) == (0.003, 1, None)
    assert cli.train(["--config", str(first / "config.json")]) == 2
    assert "holds a run" in capsys.readouterr().err


def test_a_run_is_resumed_by_its_folder_alone_and_may_be_extended(world, tmp_path, capsys):
    out, whole = tmp_path / "run", tmp_path / "whole"
    constant = ["--schedule", "constant", "--warmup-epochs", "0"]
    assert cli.train(flags(world, out, "--epochs", "1", *constant)) == 0
    assert cli.train(["--out", str(out), "--resume", "--epochs", "2"]) == 0
    assert recorded(out, "").optim.epochs == 2
    assert cli.train(flags(world, whole, "--epochs", "2", *constant)) == 0
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert cli.train(["--out", str(out), "--resume", "--epochs", "1"]) == 2
    assert "began with 2; give as many or more" in capsys.readouterr().err
    assert cli.train(["--out", str(out), "--resume", "--lr", "0.5"]) == 2
    assert "--resume with --lr 0.5: the run in" in capsys.readouterr().err
    assert cli.train(["--out", str(tmp_path / "nowhere"), "--resume"]) == 2
    assert "no run to resume in" in capsys.readouterr().err


def test_runs_of_several_poolings_are_resumed_together(world, tmp_path):
    out = tmp_path / "runs"
    assert cli.train(flags(world, out, "--epochs", "1", "--freeze-backbone", "--pooling", "gap", "kmax(k=0.2)")) == 0
    (out / "mine").mkdir()  # of another command
    (out / "mine" / "config.json").write_bytes((out / "gap" / "config.json").read_bytes())
    found = train_defaults(["--resume", "--out", str(out)])
    assert found is not None
    assert found.model.pooling == ("gap", "kmax(k=0.2)")
    assert cli.train(["--resume", "--out", str(out), "--epochs", "2"]) == 0
    assert [recorded(out / name, "").optim.epochs for name in ("gap", "kmax(k=0.2)", "mine")] == [2, 2, 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim": {"epoch": 3}}, "optim: unknown setting 'epoch': did you mean 'epochs'"),
        ({"epochs": 3}, "unknown setting 'epochs': it belongs to 'optim'"),
        ({"zzz": 3}, "unknown setting 'zzz': expected some of best_by, cache"),
        ({"optim": {"epochs": "3"}}, "expected int"),
        ([], "is not a JSON object"),
    ],
)
def test_a_file_of_settings_that_are_none(values, message, tmp_path):
    write_text(tmp_path / "config.json", json.dumps(values))
    with pytest.raises(UserError, match=message):
        train_defaults([f"--config={tmp_path / 'config.json'}"])


def test_a_part_of_the_settings_will_do(tmp_path):
    write_text(tmp_path / "some.json", json.dumps({"optim": {"epochs": 3}, "model": {"pooling": "lse"}}))
    found = train_defaults(["--config", str(tmp_path / "some.json")])
    assert found is not None
    assert (found.optim.epochs, found.optim.lr, found.model.pooling) == (3, TrainFlags().optim.lr, ("lse",))
