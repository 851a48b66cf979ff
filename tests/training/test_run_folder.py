"""What a run leaves on the disk, and who may continue it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from wsl import config
from wsl.config import DataConfig, OptimConfig, RuntimeConfig, TrainConfig
from wsl.errors import RunError, UserError
from wsl.models import Localizer, load
from wsl.training.run_check import check_run
from wsl.training.run_folder import RunFolder


@pytest.fixture
def settings(tmp_path) -> TrainConfig:
    return TrainConfig(data=DataConfig(data=Path("photos")), out=tmp_path / "run")


@pytest.fixture
def run(settings) -> RunFolder:
    run = RunFolder(settings.out)
    run.start(settings)
    return run


@pytest.fixture(scope="module")
def model() -> Localizer:
    return Localizer("tinynet", 2, weights="none")


class State(dict):
    """Something to save and put back."""

    def load_state_dict(self, state) -> None:
        self.update(state)


def keep(run: RunFolder, model: Localizer, epoch: int, best_by: str = "mAP", **figures) -> None:
    torch.nn.init.constant_(model.head.conv.bias, epoch)
    run.keep(model, {"epoch": epoch, **figures}, best_by)
    run.keep_state({"a": torch.tensor(epoch)}, epoch)


def kept_epoch(run: RunFolder) -> int:
    return int(load(run.path).head.conv.bias[0].item())


def test_a_run_is_refused_where_one_is_unless_it_may_be_overwritten(run, settings):
    with pytest.raises(UserError, match=r"holds a run: --resume .* --overwrite"):
        check_run(settings)
    check_run(dataclasses.replace(settings, overwrite=True))
    with pytest.raises(UserError, match="one of them"):
        check_run(dataclasses.replace(settings, overwrite=True, resume=True))


def test_starting_again_leaves_nothing_of_the_old_run(run, settings, model):
    keep(run, model, 1)
    run.start(settings)
    assert (run.model.exists(), run.last.exists(), run.records()) == (False, False, [])


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "classes.json", "confusions.json"])
def test_files_that_a_run_would_replace_are_left_alone(settings, name):
    settings.out.mkdir()
    (settings.out / "photo.jpg").touch()
    check_run(settings)
    (settings.out / name).touch()
    with pytest.raises(UserError, match=f"holds no run, but a {name}, which .* another --out, or --overwrite"):
        check_run(settings)
    check_run(dataclasses.replace(settings, overwrite=True))


def test_nothing_to_resume_and_a_file_in_the_place_are_told(settings):
    resume = dataclasses.replace(settings, resume=True)
    with pytest.raises(UserError, match="no run to resume"):
        check_run(resume)
    settings.out.write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="is a file"):
        check_run(settings)


@pytest.mark.parametrize(
    ("flag", "change"),
    [
        ("--lr 0.5: .* began with 0.001", {"optim": OptimConfig(lr=0.5)}),
        ("--freeze-backbone True", {"optim": OptimConfig(freeze_backbone=True)}),
        ("--seed 3", {"seed": 3}),
        ("--val-split None", {"val_split": None}),
        ("--data other", {"data": DataConfig(data=Path("other"))}),
    ],
)
def test_resuming_with_another_setting_names_its_flag(run, settings, flag, change):
    with pytest.raises(UserError, match=flag):
        check_run(dataclasses.replace(settings, resume=True, **change))


def test_how_a_run_is_run_may_change(run, settings):
    free = {"runtime": RuntimeConfig(workers=7, device="cpu", strict=True), "tensorboard": True, "resume": True}
    check_run(dataclasses.replace(settings, **free))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"data": {"data": "x"}, "out": "y", "colour": 1}', "\udcff"])
def test_a_damaged_configuration_is_told_with_its_path(run, settings, text):
    run.config.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        check_run(dataclasses.replace(settings, resume=True))


def test_the_configuration_is_kept_exactly(run, settings):
    assert config.from_json(run.config.read_text(encoding="utf-8"), TrainConfig) == settings


def test_the_best_epoch_s_model_is_kept_and_the_first_of_equals(run, model):
    for epoch, figure in enumerate([0.2, None, 0.7, 0.7, 0.4], 1):
        keep(run, model, epoch, mAP=figure, pointing=0.1 * epoch)
    assert (run.best("mAP")["epoch"], kept_epoch(run)) == (3, 3)
    keep(run, model, 6, "pointing", mAP=0.1, pointing=0.9)
    assert kept_epoch(run) == 6


@pytest.mark.parametrize("figures", [{}, {"mAP": None}])
def test_without_a_figure_the_last_epoch_is_kept(run, model, figures):
    for epoch in (1, 2, 3):
        keep(run, model, epoch, **figures)
        assert (run.best("mAP")["epoch"], kept_epoch(run), run.epochs_since_best("mAP")) == (epoch, epoch, 0)


def test_a_torn_or_repeated_line_is_written_anew(run, model):
    for epoch in (1, 2):
        keep(run, model, epoch, loss=0.5)
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "loss": 0.')
    assert [record["epoch"] for record in run.records()] == [1, 2]
    keep(run, model, 2, loss=0.25)
    lines = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    assert lines == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 2, "mAP": [0.5]}',
        '{"epoch": 2, "pointing": "high"}',
        '{"epoch": 2, "mAP": NaN}',
        '{"epoch": 2, "mAP": %s}' % ("9" * 4000),
        '{"epoch": %s}' % ("9" * 4000),
        '{"epoch": %s}' % ("9" * 5000),
        '{"epoch": true}',
        '{"epoch": "2"}',
        '{"epoch": 1e400}',
        '{"epoch": -1}',
        "[2]",
        "[" * 100_000,
    ],
)
def test_a_line_that_is_no_record_is_passed_over(run, model, line):
    keep(run, model, 1)
    with run.metrics.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert [record["epoch"] for record in run.records()] == [1]
    assert run.best("mAP")["epoch"] == 1
    keep(run, model, 2)
    assert [record["epoch"] for record in run.records()] == [1, 2]


def test_a_run_without_metrics_goes_on_and_one_without_epochs_says_so(run, model):
    run.metrics.unlink()
    with pytest.raises(UserError, match="has no epoch"):
        run.best("mAP")
    keep(run, model, 4)
    assert run.best("mAP")["epoch"] == 4


def test_the_state_comes_back_and_damage_is_told(run, model):
    assert run.load(State()) == 0
    keep(run, model, 5)
    state = State()
    assert run.load(state) == 5
    assert state["a"] == 5
    whole = run.last.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"not a checkpoint", whole[:100] + bytes(100) + whole[200:]):
        run.last.write_bytes(damage)
        with pytest.raises(UserError, match="cannot be resumed"):
            run.load(State())


@pytest.mark.parametrize("writer", ["wsl.training.run_folder.save", "wsl.training.run_folder.torch.save"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_full_disk_leaves_the_old_files_whole(run, model, monkeypatch, writer, error):
    keep(run, model, 1)
    before = {path: path.read_bytes() for path in (run.model, run.last)}

    def full(*args, **kwargs) -> None:
        Path(args[1]).write_bytes(b"half") if isinstance(args[1], Path) else args[1].write(b"half")
        raise error

    if writer.endswith("folder.save"):  # below `save`, which replaces the file
        writer = "wsl.models.weights.save_file"
    with monkeypatch.context() as patch:
        patch.setattr(writer, full)
        with pytest.raises((OSError, RunError), match=r"No space left|disk full"):
            keep(run, model, 2)
    assert run.last.read_bytes() == before[run.last]
    assert load(run.path)
    assert {path.name for path in run.path.rglob("*")} == {
        "config.json", "metrics.jsonl", "model.safetensors", "classes.json", "confusions.json", "last", "state.pt"
    }  # fmt: skip
    keep(run, model, 2)
    assert [record["epoch"] for record in run.records()] == [1, 2]
