"""A training that is killed or told to end behind any step, and continued, writes the same bytes as a whole one."""

import os
import random
import signal
from pathlib import Path

import pytest
import torch

from wsl import cli
from wsl.config import DataConfig, ModelConfig, OptimConfig, Preprocessing, RuntimeConfig, TrainConfig
from wsl.interrupts import Stopped
from wsl.training import learner as learner_module
from wsl.verbs.train import train

STEPS, EPOCHS = 5, 3  # 48 images, 10 a step: the last one is filled up
OTHER_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture(scope="module", autouse=True)
def _plain(one_thread, dropping):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wsl.models.backbone.TinyNet", dropping)
        yield


def settings(world: Path, out: Path, freeze: bool = False, **changes) -> TrainConfig:
    more = {} if freeze else {"augment": ("cutmix", "colorjitter(brightness=0.4)"), "min_crop": 0.5, "optimizer": "sgd"}
    return TrainConfig(
        data=DataConfig(data=world),
        out=out,
        model=ModelConfig(backbone="tinynet", weights="none", pooling="stochastic(probability=softmax)"),
        preprocessing=Preprocessing(image_size=32),
        optim=OptimConfig(
            epochs=EPOCHS,
            batch_size=10,
            lr=3e-3,
            loss="bce + recam(weight=0.5)",
            ema=0.9,
            freeze_backbone=freeze,
            **more,
        ),
        runtime=RuntimeConfig(device="cpu", precision="fp32", workers=0),
        **changes,
    )


def interrupt(monkeypatch, step: int, what) -> None:
    """Call `what` while the batch of that step of the run, counted from 0, is fetched."""
    whole = learner_module.run_epoch

    def run_epoch(stepper, batches, **kwargs):
        def fetched():
            done = (kwargs["epoch"] - 1) * STEPS + kwargs["position"].step
            for place, batch in enumerate(batches):
                if done + place == step:
                    what()
                yield batch

        return whole(stepper, fetched(), **kwargs)

    monkeypatch.setattr(learner_module, "run_epoch", run_epoch)


def die() -> None:
    raise RuntimeError("killed")  # nobody waits for it, and nothing is written afterwards


@pytest.fixture(scope="module", params=[False, True], ids=["images", "features"])
def whole(request, world, tmp_path_factory) -> tuple[Path, bool]:
    """A run that nobody stopped, and whether its backbone is frozen."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(settings(world, out, request.param))
    return out, request.param


MOMENTS = [(9, 4)]
WITHIN = (3, 2)
OTHERS = [(i, n) for i in range(STEPS * EPOCHS) for n in range(1, 7) if (i, n) not in (*MOMENTS, WITHIN)]
MANY = random.Random(0).sample(OTHERS, 50)


@pytest.mark.parametrize(("step", "every"), [*MOMENTS, WITHIN, *MANY])
@pytest.mark.quick("step, every", MOMENTS)
def test_a_run_killed_behind_any_step(world, tmp_path, monkeypatch, whole, step, every, assert_same_run):
    """The state is kept every so many steps: what was done since is done again."""
    expected, freeze = whole
    with monkeypatch.context() as patch:
        interrupt(patch, step, die)
        with pytest.raises(RuntimeError, match="killed"):
            train(settings(world, tmp_path / "parts", freeze, save_every=every))
    state = tmp_path / "parts" / "last" / "state.pt"
    kept = torch.load(state, weights_only=True) if state.is_file() else {"epoch": 0}
    done = kept["epoch"] * STEPS + kept.get("position", {"step": 0})["step"]
    assert max(0, step - every) < done + 1 <= step + 1
    train(settings(world, tmp_path / "parts", freeze, save_every=every, resume=True))
    assert_same_run(expected, tmp_path / "parts")


@pytest.mark.parametrize("number", [signal.SIGTERM, *OTHER_SIGNALS])
@pytest.mark.parametrize(("step", "_every"), [WITHIN, *MANY])
@pytest.mark.quick("number, step, _every", [(signal.SIGTERM, *WITHIN)])
@pytest.mark.quick("whole", [True])
def test_a_run_told_to_end_keeps_the_step_that_it_is_in(
    world, tmp_path, monkeypatch, whole, number, step, _every, assert_same_run
):
    expected, freeze = whole
    with monkeypatch.context() as patch:
        interrupt(patch, step, lambda: signal.raise_signal(number))
        with pytest.raises(KeyboardInterrupt) as ended:
            train(settings(world, tmp_path / "parts", freeze))
    assert isinstance(ended.value, Stopped) == (number != signal.SIGINT)
    kept = torch.load(tmp_path / "parts" / "last" / "state.pt", weights_only=True)
    assert kept["epoch"] * STEPS + kept["position"]["step"] == step + 1
    train(settings(world, tmp_path / "parts", freeze, resume=True))
    assert_same_run(expected, tmp_path / "parts")


@pytest.mark.quick("whole", [False])
def test_a_run_told_to_end_while_it_validates_does_not_train_the_epoch_again(
    world, tmp_path, monkeypatch, whole, assert_same_run
):
    expected, freeze = whole

    def stopping(self):
        raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(learner_module.Learner, "validate", stopping)
        with pytest.raises(Stopped):
            train(settings(world, tmp_path / "parts", freeze))
    assert torch.load(tmp_path / "parts" / "last" / "state.pt", weights_only=True)["position"]["step"] == STEPS
    with monkeypatch.context() as patch:
        interrupt(patch, STEPS - 1, die)  # the epoch's last step
        train(settings(world, tmp_path / "parts", freeze, resume=True))
    assert_same_run(expected, tmp_path / "parts")


@pytest.mark.skipif(os.name == "nt", reason="no signals between processes")
def test_a_command_that_is_told_to_end_says_so(world, tmp_path, monkeypatch, capsys):
    flags = [
        "--data",
        str(world),
        "--out",
        str(tmp_path),
        "--backbone",
        "tinynet",
        "--weights",
        "none",
        "--epochs",
        "9",
    ]
    flags += ["--batch-size", "10", "--image-size", "32", "--workers", "0", "--device", "cpu", "--val-split", "None"]
    with monkeypatch.context() as patch:
        interrupt(patch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert cli.train(flags) == 143
    assert "stopped: what was finished is kept" in capsys.readouterr().err
    assert torch.load(tmp_path / "last" / "state.pt", weights_only=True)["position"]["step"] == 3
