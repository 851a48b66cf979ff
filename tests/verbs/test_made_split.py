"""A split that a training made is that of its run, whoever asks for it."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from wsl import config
from wsl.data import as_trained
from wsl.draw import save_image
from wsl.errors import UserError
from wsl.training.run_check import recorded
from wsl.verbs.compare import compare
from wsl.verbs.evaluate import evaluate
from wsl.verbs.localize import run_localize
from wsl.verbs.train import read_inputs, train
from wsl.verbs.train_lr import find_lr


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos") / "flat"
    for label, level in (("dark", 40), ("light", 200)):
        for i in range(10):
            save_image(root / label / f"{i}.png", np.full((20, 24, 3), level + i, np.uint8))
    return root


def settings(data: Path, out: Path, **more: object) -> config.TrainConfig:
    values = config.TrainConfig(
        data=config.DataConfig(data=data),
        out=out,
        model=config.ModelConfig(backbone="tinynet", weights="none"),
        preprocessing=config.Preprocessing(image_size=32),
        optim=config.OptimConfig(epochs=1, batch_size=8),
        runtime=config.RuntimeConfig(device="cpu"),
    )
    return dataclasses.replace(values, **more)


@pytest.fixture(scope="module")
def run(flat: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "gap"
    assert train(settings(flat, out)).mAP is not None
    return out


def test_a_run_keeps_how_it_was_divided(run):
    kept = recorded(run, "")
    assert kept is not None
    assert (kept.data.val_fraction, kept.data.split_seed) == (0.2, 0)


def test_other_commands_take_the_images_of_the_run(flat, run, tmp_path):
    data = config.DataConfig(data=flat)
    assert evaluate(weights=str(run), data=data).images == 4
    assert evaluate(weights=str(run), data=data, split="train").images == 16
    assert evaluate(weights=str(run), data=data, split="all").images == 20
    found = run_localize(data=data, weights=str(run), out=tmp_path / "found")
    assert found.images == 4
    assert evaluate(predictions=tmp_path / "found", data=data).images == 4
    compared = compare(str(run), str(tmp_path / "found"), data=data, metrics=("mAP",))
    assert compared.images == 4


def test_another_data_set_keeps_its_own_splits(run, tmp_path):
    for split, count in (("train", 6), ("val", 3)):
        for label in ("dark", "light"):
            for i in range(count):
                save_image(tmp_path / "other" / split / label / f"{i}.png", np.full((20, 24, 3), 40, np.uint8))
    assert as_trained(config.DataConfig(data=tmp_path / "other"), run).val_fraction is None
    assert evaluate(weights=str(run), data=tmp_path / "other", split="val").images == 6
    assert as_trained(config.DataConfig(data=tmp_path / "moved" / "flat"), run).val_fraction == 0.2


def test_a_run_goes_on_with_the_images_that_it_began_with(flat, run):
    more = settings(flat, run, resume=True)
    assert train(more).best_epoch == 1
    changed = dataclasses.replace(more, data=config.DataConfig(data=flat, val_fraction=0.5))
    with pytest.raises(UserError, match=r"--resume with --val-fraction 0\.5"):
        train(changed)


def test_training_on_all_images(flat, tmp_path):
    train(settings(flat, tmp_path / "all", val_split=None))
    kept = recorded(tmp_path / "all", "")
    assert kept is not None
    assert kept.data.val_fraction is None


def test_training_on_the_images_that_are_kept_is_refused(flat, tmp_path):
    with pytest.raises(UserError, match="the splits to train and validate on are all and val: expected train and val"):
        train(settings(flat, tmp_path / "run", train_split="all"))


def test_runs_that_kept_other_images_are_not_compared(flat, run, tmp_path):
    other = config.DataConfig(data=flat, val_fraction=0.2, split_seed=1)
    train(dataclasses.replace(settings(flat, tmp_path / "other"), data=other))
    with pytest.raises(UserError, match="kept different images for validation"):
        compare(str(run), str(tmp_path / "other"), data=config.DataConfig(data=flat))


def test_a_class_may_lack_images_to_validate_on_but_not_to_train_on(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    for split, labels in (("train", ("dark", "light")), ("val", ("light",))):
        for label in labels:
            save_image(tmp_path / "photos" / split / label / "0.png", np.zeros((4, 4, 3), np.uint8))
    given = settings(tmp_path / "photos", tmp_path / "run")
    _, samples, val = read_inputs(given)
    assert samples.classes == val.classes == ("dark", "light")
    assert caplog.messages == ["no validation image shows dark: the mAP is the mean over the others"]
    with pytest.raises(UserError, match="split train has the class 'dark', and split val has not: expected training"):
        read_inputs(dataclasses.replace(given, train_split="val", val_split="train"))


def test_keywords_that_resume_no_run_say_so(tmp_path):
    with pytest.raises(UserError, match=r"no run to resume in .*run: expected its config.json"):
        train(out=tmp_path / "run", resume=True)


def test_a_search_for_a_learning_rate_takes_keywords(flat, tmp_path):
    with pytest.raises(UserError, match="find lr steps is 1, expected 2 or more"):
        find_lr(flat, out=tmp_path / "run", steps=1)
    with pytest.raises(UserError, match="unknown setting 'epoch': did you mean 'epochs'"):
        find_lr(flat, out=tmp_path / "run", epoch=1)
