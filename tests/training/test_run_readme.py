"""A run's README.md says how it was made in a command that makes it again."""

import shlex
from pathlib import Path

import pytest
import tyro

from wsl.cli.flags import TrainFlags
from wsl.config import (
    DataConfig,
    DecoderConfig,
    ModelConfig,
    OptimConfig,
    Preprocessing,
    RuntimeConfig,
    TrainConfig,
)
from wsl.training.run_readme import command, run_readme

CONFIGS = {
    "plain": {},
    "many": {
        "model": ModelConfig(backbone="tinynet", weights="none", pooling="weldon(k_max=0.2, k_min=0.2)", head=None),
        "optim": OptimConfig(
            loss="bce + puzzle(alpha=4)",
            augment=("hide-and-seek(grid=(0, 16), p=0.5)", "cutmix"),
            ema=0.999,
            flip=False,
        ),
        "preprocessing": Preprocessing(image_size=64, mean=(0.5, 0.5, 0.5)),
        "val_split": None,
        "seed": 3,
        "save_every": 10,
    },
    "fitted": {
        "optim": OptimConfig(freeze_backbone=True, optimizer="lbfgs"),
        "decoding": DecoderConfig(decode=True),
        "runtime": RuntimeConfig(device="cpu", workers=0),
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_command_gives_the_settings_back(name):
    config = TrainConfig(data=DataConfig(data=Path("my photos")), out=Path("runs/a"), **CONFIGS[name])
    program, *flags = shlex.split(command(config))
    style = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    assert program == "wsl-train"
    assert tyro.cli(TrainFlags, args=flags, config=style).resolved() == (config,)


def test_figures_stand_class_by_class_and_their_means_below():
    config = TrainConfig(data=DataConfig(data=Path("voc")), out=Path("runs/a"))
    rows = [{"class": "cat", "images": 2, "AP": 0.25, "pointing": None}, {"class": "dog", "images": 0, "AP": None}]
    text = run_readme(config, {"epoch": 3, "mAP": 0.25, "pointing": None}, rows, 10)
    assert text.endswith(
        "| class | images |    AP |\n| :---- | -----: | ----: |\n| cat   |      2 | 0.250 |\n"
        "| dog   |      0 |       |\n| mean  |        | 0.250 |\n"
    )


def test_a_table_of_classes_stays_one_whatever_their_names_and_without_a_figure():
    config = TrainConfig(data=DataConfig(data=Path("voc")), out=Path("runs/a"))
    rows = [{"class": "a|b", "images": 1, "AP": None, "pointing": None}]
    text = run_readme(config, {"epoch": 3, "mAP": None, "pointing": None}, rows, 10)
    assert text.endswith("| class | images |\n| :---- | -----: |\n| a\\|b  |      1 |\n| mean  |        |\n")


def test_figures_are_said_to_be_the_probe_s_where_they_are_not_the_head_s():
    config = TrainConfig(data=DataConfig(data=Path("voc")), out=Path("runs/a"))
    rows = [{"class": "cat", "images": 2, "AP": 0.5}, {"class": "dog", "images": 1, "AP": 1.0}]
    said = "\n\nThe scores are those of the linear probe; with the head's, the mAP is 0.250.\n"
    for head, probed in ((0.25, True), (0.75, False)):
        text = run_readme(config, {"epoch": 3, "mAP": head}, rows, 10)
        assert "| mean  |        | 0.750 |\n" in text
        assert text.endswith(said) == probed


def test_confusions_stand_below_the_figures_and_are_bounded():
    config = TrainConfig(data=DataConfig(data=Path("voc")), out=Path("runs/a"))
    rows = [{"class": f"c{i}", "images": 1, "AP": 0.5, "precision": None, "recall": 0.25} for i in range(10_000)]
    pairs = [{"predicted": f"c{i}", "present": "c0", "images": 3, "of": 4} for i in range(1000)]
    known = {"predicted": "the highest probability", "confusions": pairs}
    text = run_readme(config, {"epoch": 3, "mAP": 0.5}, rows, 10, known)
    assert "| c0    |      1 | 0.500 |  0.250 |\n" in text
    assert "The first 200 of 10000 classes; classes.json has all." in text
    assert "Precision and recall are of classes predicted by this criterion: the highest probability." in text
    assert "(confusions.json has more):" in text
    assert "| c19       | c0           |      3 |   4 |\n" in text
    assert "| c20 " not in text.partition("## Confusions")[2]
    assert len(text) < 20_000


def test_the_command_that_uses_a_run_can_be_pasted():
    config = TrainConfig(data=DataConfig(data=Path("photos")), out=Path("my runs/kmax(k=0.2)"))
    line = next(
        line for line in run_readme(config, {"epoch": 1}, [], 1).splitlines() if line.startswith("wsl-localize")
    )
    assert shlex.split(line)[2:4] == ["--weights", "my runs/kmax(k=0.2)"]
